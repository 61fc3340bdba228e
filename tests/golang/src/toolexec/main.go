// Toolexec is what pinhole go gives the go command as its flag -toolexec, as a program of its own: for go
// commands in sandboxes.
package main

import (
	"os"

	"pinhole/cmd/pinhole/golang"
)

func main() { os.Exit(golang.Toolexec(os.Args)) }
