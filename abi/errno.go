// Package abi is Pinhole's system call ABI: numbers, types, layouts and errors, generated
// from pinhole.abi.
package abi

// Addr is an address in a guest's memory. It is never turned into a Go pointer: package
// emu/guest copies from and to it.
type Addr uint64

// Errno is an error as a guest sees it: a Linux error number, 0 for success.
type Errno uint16
