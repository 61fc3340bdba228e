package emu

import (
	"time"
	"unsafe"

	"pinhole/abi"
)

func newIOTask(k *Kernel, p *Process, tid int32) *Task {
	t := &Task{kernel: k, proc: p, tid: tid, ctx: k.m.NewContext()}
	t.nameLen = copy(t.name[:], "test")
	p.live.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.procs[p.pid], k.tasks[tid] = p, t
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tasks == nil {
		p.tasks = make(map[int32]*Task)
	}
	p.tasks[tid] = t
	return t
}

// addressOf returns where memory that does not move lies.
func addressOf(p []byte) abi.Addr { return abi.Addr(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) }

// yieldTest lets others run while a test waits for something to come about.
func yieldTest() { time.Sleep(50 * time.Microsecond) }
