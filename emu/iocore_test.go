package emu

import (
	"unsafe"

	"pinhole/abi"
)

func newIOTask(k *Kernel, p *Process, tid int32) *Task {
	t := &Task{kernel: k, proc: p, tid: tid, ctx: k.m.NewContext()}
	p.live.Add(1)
	k.slots.acquire(t)
	return t
}

// addressOf returns where memory that does not move lies.
func addressOf(p []byte) abi.Addr { return abi.Addr(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) }
