package host

import (
	"bytes"
	"debug/elf"
	"testing"
	"unsafe"
)

// vdsoSymbol finds a function of the vDSO in memory.
func vdsoSymbol(t *testing.T, name string) uintptr {
	t.Helper()
	if mach.VDSO() == 0 {
		t.Skip("the host has no vDSO")
	}
	f, err := elf.NewFile(bytes.NewReader(unsafe.Slice((*byte)(pointer(mach.VDSO())), mach.VDSOSize())))
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		if s.Name == name {
			return uintptr(mach.VDSO() + s.Value)
		}
	}
	t.Skipf("the vDSO has no %s", name)
	return 0
}
