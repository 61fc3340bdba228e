package emu

// space is the address space of a process.
type space struct{}
