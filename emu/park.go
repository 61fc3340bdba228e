package emu

import (
	"sync/atomic"
	"unsafe"
)

// parker lets one goroutine sleep until another wakes it. It is a binary semaphore: an unpark
// that comes first makes the next park return at once, several of them count as one. It lies
// below channels and sync.Cond because a futex hand-over between two guest threads is little
// more than one park and one unpark.
//
// The zero parker is ready for use. It must lie in the heap and must not be copied.
type parker struct {
	state uintptr // parkIdle, parkToken, or the sleeping goroutine
}

const (
	parkIdle  = 0
	parkToken = 1
)

// park returns when unpark was called since the last park returned. Only one goroutine may call it.
func (p *parker) park() {
	if atomic.LoadUintptr(&p.state) != parkToken {
		gopark(commitPark, unsafe.Pointer(&p.state), 0, 0, 1)
	}
	// A token that comes in between is taken together with this one: whoever parks looks at
	// what it waits for again before it parks the next time.
	atomic.SwapUintptr(&p.state, parkIdle)
}

// unpark wakes the goroutine in park, or the next one that calls it. It never blocks.
func (p *parker) unpark() {
	if atomic.LoadUintptr(&p.state) == parkToken {
		return
	}
	switch g := atomic.SwapUintptr(&p.state, parkToken); g {
	case parkIdle, parkToken:
	default:
		goready(g, 1)
	}
}

// unparkAway is unpark for a caller that goes on: the other is better run beside it, as soon as possible.
func (p *parker) unparkAway() { p.unparkBy(readyAway) }

// unparkHere is unpark for a caller that is about to park itself: the goroutine goes on in its
// place, without a host thread being woken for it in between. If the caller does not park, the
// other is late: by 70 us to 10 ms.
func (p *parker) unparkHere() { p.unparkBy(readyHere) }

func (p *parker) unparkBy(ready func(g uintptr)) {
	if ready == nil {
		p.unpark()
		return
	}
	if atomic.LoadUintptr(&p.state) == parkToken {
		return
	}
	switch g := atomic.SwapUintptr(&p.state, parkToken); g {
	case parkIdle, parkToken:
	default:
		ready(g)
	}
}

// readyHere and readyAway are set by the kernel's own Go runtime (shim/golang/host), nil under another.
var readyHere, readyAway func(g uintptr)

// commitPark runs on the scheduler's stack after the goroutine is marked as waiting; false
// resumes it. It must not be instrumented by the race detector, so the swap is our own.
//
//go:norace
//go:nosplit
func commitPark(g uintptr, state unsafe.Pointer) bool {
	return casUintptr((*uintptr)(state), parkIdle, g)
}

// casUintptr is an atomic compare and swap that may run on the scheduler's stack.
//
//go:noescape
func casUintptr(p *uintptr, old, new uintptr) bool

// gopark and goready are the runtime's own primitives, which it keeps open to linkname.

//go:linkname gopark runtime.gopark
func gopark(unlockf func(g uintptr, lock unsafe.Pointer) bool, lock unsafe.Pointer, reason, traceReason uint8, traceskip int)

//go:linkname goready runtime.goready
func goready(g uintptr, traceskip int)
