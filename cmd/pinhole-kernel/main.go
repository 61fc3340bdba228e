// Pinhole-kernel is the program inside a sandbox: the kernel that answers a guest's calls in
// the guest's own process. Pinhole starts it; it is of no use by hand.
package main

import "pinhole/runtime/sandbox"

func main() { sandbox.Main() }
