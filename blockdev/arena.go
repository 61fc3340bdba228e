package blockdev

import (
	"sync"
	"unsafe"
)

// Arena hands out page frames from one stretch of memory that stays mapped for good, so
// that a recycled frame costs no page fault. A ring device writes frames of its arena
// without a copy. Safe for concurrent use.
type Arena struct {
	mem  []byte
	mu   sync.Mutex
	free []uint32 // recycled frames, most recently used last
	next uint32   // frames from here on were never used
}

// NewArena makes an arena over mem, whose length is a multiple of PageSize.
func NewArena(mem []byte) *Arena { return &Arena{mem: mem} }

// Frames returns how many frames the arena has in all.
func (a *Arena) Frames() int { return len(a.mem) / PageSize }

// Bytes returns the whole arena.
func (a *Arena) Bytes() []byte { return a.mem }

// Alloc returns a frame of PageSize bytes with arbitrary content, or nil when none is free.
func (a *Arena) Alloc() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	var i uint32
	switch n := len(a.free); {
	case n > 0:
		i = a.free[n-1]
		a.free = a.free[:n-1]
	case int(a.next) < a.Frames():
		i = a.next
		a.next++
	default:
		return nil
	}
	off := int(i) * PageSize
	return a.mem[off : off+PageSize : off+PageSize]
}

// Free gives a frame from Alloc back.
func (a *Arena) Free(frame []byte) {
	off, ok := a.Offset(frame)
	if !ok || off%PageSize != 0 {
		panic("blockdev: Arena.Free of memory that is not a frame of the arena")
	}
	a.mu.Lock()
	a.free = append(a.free, uint32(off/PageSize))
	a.mu.Unlock()
}

// Offset returns where p lies in the arena, if it lies there as a whole.
func (a *Arena) Offset(p []byte) (int, bool) {
	if len(a.mem) == 0 || len(p) == 0 {
		return 0, false
	}
	base := uintptr(unsafe.Pointer(unsafe.SliceData(a.mem)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	if at < base || at-base > uintptr(len(a.mem)-len(p)) || len(p) > len(a.mem) {
		return 0, false
	}
	return int(at - base), true
}
