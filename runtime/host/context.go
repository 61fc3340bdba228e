package host

import (
	"sync"
	"syscall"
	"unsafe"

	"pinhole/emu/guest"
	"pinhole/runtime/seccomp"
)

// contexts hands out contexts with their XSAVE areas, from memory outside Go's heap.
type contexts struct {
	xsize int // of an XSAVE area
	mu    sync.Mutex
	free  []*guest.Context
	slab  []byte
}

const (
	contextSlab = 256 << 10
	headSize    = (int(unsafe.Sizeof(guest.Context{})) + 63) &^ 63
)

// slot is how much memory a context takes: itself, its XSAVE area, and FP_XSTATE_MAGIC2 behind.
func (cs *contexts) slot() int { return headSize + (cs.xsize+4+63)&^63 }

// get returns a context in its initial state, or nil for want of memory.
func (cs *contexts) get() *guest.Context {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if n := len(cs.free); n > 0 {
		c := cs.free[n-1]
		cs.free = cs.free[:n-1]
		clear(unsafe.Slice((*byte)(unsafe.Pointer(c)), cs.slot()))
		cs.init(c)
		return c
	}
	if len(cs.slab) < cs.slot() {
		p, _, e := syscall.RawSyscall6(syscall.SYS_MMAP, 0, contextSlab,
			syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE, seccomp.Mark|noFile, 0)
		if e != 0 {
			return nil
		}
		cs.slab = unsafe.Slice((*byte)(pointer(uint64(p))), contextSlab)
	}
	c := (*guest.Context)(unsafe.Pointer(unsafe.SliceData(cs.slab)))
	cs.slab = cs.slab[cs.slot():]
	cs.init(c)
	return c
}

// init fills in a context of zeros.
func (cs *contexts) init(c *guest.Context) {
	c.Self = uint64(uintptr(unsafe.Pointer(c)))
	c.XSave = c.Self + uint64(headSize)
	c.XSaveSize = uint64(cs.xsize)
	c.MXCSR, c.FCW = mxcsrDefault, uint32(fcwDefault)
	*word32(c.XSave, fpFCW) = c.FCW
	*word32(c.XSave, fpMXCSR) = c.MXCSR
	*word32(c.XSave, fpMXCSR+4) = mxcsrMask
	*word32(c.XSave, fpMagic) = fpMagic1
	*word32(c.XSave, fpExtended) = uint32(cs.xsize + 4)
	*word64(c.XSave, fpFeatures) = xsaveMask
	*word32(c.XSave, fpSize) = uint32(cs.xsize)
	*word32(c.XSave, uintptr(cs.xsize)) = fpMagic2
}

func (cs *contexts) put(c *guest.Context) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.free = append(cs.free, c)
}
