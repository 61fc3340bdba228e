package host

import (
	"errors"
	_ "unsafe" // for linkname
)

// Written by New, used by the assembly.
var (
	xsaveMask uint64 // state components that belong to a guest
	haveAVX   uint32
)

// amx are the tile components: 8 KiB a thread that no program gets without asking the host.
const amx = 1<<17 | 1<<18

// probeCPU sets xsaveMask and haveAVX, and returns the size of an XSAVE area.
func probeCPU(hwcap2 uintptr) (xsize int, err error) {
	const (
		hwcap2FSGSBASE = 1 << 1
		osxsave        = 1 << 27
		avx            = 1 << 28
	)
	if hwcap2&hwcap2FSGSBASE == 0 {
		return 0, errors.New("host: this processor or kernel does not let programs set their FS and GS base (FSGSBASE, Linux 5.9): Pinhole needs it")
	}
	_, _, c, _ := cpuid(1, 0)
	if c&osxsave == 0 {
		return 0, errors.New("host: this processor or kernel has no XSAVE: Pinhole needs it")
	}
	xsaveMask = xgetbv() &^ amx
	if c&avx != 0 && xsaveMask&4 != 0 {
		haveAVX = 1
	}
	xsize = 512 + fpHeader
	for i := uint32(2); i < 63; i++ {
		if xsaveMask&(1<<i) != 0 {
			size, off, _, _ := cpuid(13, i)
			xsize = max(xsize, int(off+size))
		}
	}
	return xsize, nil
}

// auxiliary returns a value of the auxiliary vector, 0 if it has none.
func auxiliary(tag uintptr) uintptr {
	v := getAuxv()
	for i := 0; i+1 < len(v); i += 2 {
		if v[i] == tag {
			return v[i+1]
		}
	}
	return 0
}

const (
	atHWCap2      = 26
	atSysinfoEHdr = 33
)

//go:linkname getAuxv runtime.getAuxv
func getAuxv() []uintptr

//go:noescape
func cpuid(leaf, sub uint32) (a, b, c, d uint32)

func xgetbv() uint64
