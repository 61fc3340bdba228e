package host

import (
	"bytes"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/emu/guest"
)

func addressOf(b []byte) abi.Addr { return abi.Addr(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func TestMap(t *testing.T) {
	base := mapped(t, 8*pageSize)
	page := make([]byte, pageSize)

	if e := mach.Map(base, 2*pageSize, 3, guest.BackImage, pageSize); e != 0 {
		t.Fatal(e2err(e))
	}
	if n := guest.CopyIn(page, base); n != pageSize || !bytes.Equal(page, image[pageSize:2*pageSize]) {
		t.Error("a mapping of the image does not show the image")
	}
	// A private mapping: what is written is a copy.
	if n := guest.CopyOut(base, []byte("written")); n != 7 {
		t.Fatal("a mapping of the image cannot be written")
	}
	if e := mach.Map(base+pageSize, pageSize, 1, guest.BackImage, pageSize); e != 0 {
		t.Fatal(e2err(e))
	}
	if n := guest.CopyIn(page, base+pageSize); n != pageSize || !bytes.Equal(page, image[pageSize:2*pageSize]) {
		t.Error("the image has changed")
	}
	if n := guest.CopyOut(base+pageSize, page); n != 0 {
		t.Error("a read-only mapping is written")
	}

	// RAM is shared between all mappings of it and the kernel.
	const off = 2 << 20
	copy(mach.RAM()[off:], "from the kernel")
	for i := range abi.Addr(2) {
		if e := mach.Map(base+(2+i)*pageSize, pageSize, 3, guest.BackRAM, off); e != 0 {
			t.Fatal(e2err(e))
		}
	}
	if n := guest.CopyIn(page[:15], base+2*pageSize); n != 15 || string(page[:15]) != "from the kernel" {
		t.Errorf("RAM shows %q in a guest", page[:15])
	}
	guest.CopyOut(base+3*pageSize, []byte("from a guest   "))
	guest.CopyIn(page[:15], base+2*pageSize)
	if a, b := string(page[:15]), string(mach.RAM()[off:off+15]); a != "from a guest   " || b != a {
		t.Errorf("RAM shows %q and %q", a, b)
	}
	mach.DiscardRAM(off, pageSize)
	if guest.CopyIn(page, base+2*pageSize); !bytes.Equal(page, make([]byte, pageSize)) {
		t.Error("discarded RAM is not zero")
	}

	// In place of what was there, and zero.
	if e := mach.Map(base+2*pageSize, pageSize, 3, guest.BackAnon, 0); e != 0 {
		t.Fatal(e2err(e))
	}
	if e := mach.MapPopulated(base+3*pageSize, 2*pageSize, 3); e != 0 {
		t.Fatal(e2err(e))
	}
	for i := range abi.Addr(3) {
		if n := guest.CopyIn(page, base+(2+i)*pageSize); n != pageSize || !bytes.Equal(page, make([]byte, pageSize)) {
			t.Errorf("fresh page %d: %d bytes, not all zero", i, n)
		}
	}
	if e := mach.Map(base, 8*pageSize, 7, guest.BackNone, 0); e != 0 {
		t.Fatal(e2err(e))
	}
	if n := guest.CopyIn(page, base+2*pageSize); n != 0 {
		t.Error("nothing can be read")
	}
}

// A page behind the end of the image's file is there, but cannot be read.
func TestImageEnd(t *testing.T) {
	at := mapped(t, pageSize)
	defer func(size int64) { mach.imageSize = size }(mach.imageSize)
	mach.imageSize = imageBytes + pageSize
	if e := mach.Map(at, pageSize, 1, guest.BackImage, imageBytes); e != 0 {
		t.Fatal(e2err(e))
	}
	if n, side := guest.TryCopyIn(make([]byte, 10), at); n != 0 || side != guest.Guest {
		t.Errorf("TryCopyIn behind the image's end = %d, %v", n, side)
	}
	own := unsafe.Slice((*byte)(pointer(uint64(at))), pageSize)
	out := mapped(t, pageSize)
	if n, side := guest.TryCopyOut(out, own); n != 0 || side != guest.Kernel {
		t.Errorf("TryCopyOut from behind the image's end = %d, %v", n, side)
	}
	if n := guest.CopyHost(make([]byte, 10), own); n != 0 {
		t.Errorf("CopyHost from behind the image's end = %d", n)
	}
	c := newGuest(t, "read", uint64(at))
	drive(c)
	if d := cmp.Diff(fault{guest.Fault, syscall.SIGBUS, busAdrErr, uint64(at)}, faultOf(c)); d != "" {
		t.Errorf("a guest that reads behind the image's end (-want +got)\n%s", d)
	}
}

func TestMapRefuses(t *testing.T) {
	lo, hi := mach.Area()
	const page = pageSize
	for _, c := range []struct {
		name string
		addr abi.Addr
		n    uint64
		prot uint32
		what guest.Backing
		off  int64
	}{
		{"nothing", lo, 0, 3, guest.BackAnon, 0},
		{"odd address", lo + 1, page, 3, guest.BackAnon, 0},
		{"odd length", lo, page + 1, 3, guest.BackAnon, 0},
		{"below", lo - page, page, 3, guest.BackAnon, 0},
		{"above", hi, page, 3, guest.BackAnon, 0},
		{"over the end", hi - page, 2 * page, 3, guest.BackAnon, 0},
		{"overflow", lo, ^uint64(0) &^ 4095, 3, guest.BackAnon, 0},
		{"the kernel", abi.Addr(mach.GateAddr()) &^ 4095, page, 3, guest.BackAnon, 0},
		{"protection", lo, page, 8, guest.BackAnon, 0},
		{"GROWSDOWN", lo, page, 0x01000003, guest.BackAnon, 0},
		{"backing", lo, page, 3, 9, 0},
		{"image end", lo, 2 * page, 3, guest.BackImage, imageBytes - page},
		{"image offset", lo, page, 3, guest.BackImage, 17},
		{"image negative", lo, page, 3, guest.BackImage, -page},
		{"image overflow", lo, page, 3, guest.BackImage, 0x7ffffffffffff000},
		{"RAM end", lo, 2 * page, 3, guest.BackRAM, ramBytes - page},
		{"RAM overflow", lo, page, 3, guest.BackRAM, 0x7ffffffffffff000},
	} {
		if e := mach.Map(c.addr, c.n, c.prot, c.what, c.off); e != abi.EINVAL {
			t.Errorf("Map of %s: %v, want EINVAL", c.name, e2err(e))
		}
	}
	if e := mach.MapPopulated(hi, page, 3); e != abi.EINVAL {
		t.Errorf("MapPopulated outside: %v, want EINVAL", e2err(e))
	}
	if llo, lhi := mach.LowArea(); mode != "" && (llo != lowBegin || lhi != lowEnd) {
		t.Errorf("low area is [%#x, %#x) in a kernel linked high", llo, lhi)
	}
}

// What mmap is called with here is what the filter is told.
func TestMapRules(t *testing.T) {
	want := map[MapRule]bool{
		{FD: -1, Flags: noReserve}:                                    true,
		{FD: -1, Flags: private}:                                      true,
		{FD: -1, Flags: private | syscall.MAP_POPULATE}:               true,
		{FD: -1, Flags: syscall.MAP_ANON | syscall.MAP_PRIVATE}:       true,
		{FD: FDImage, Flags: syscall.MAP_PRIVATE | syscall.MAP_FIXED}: true,
		{FD: FDRAM, Flags: syscall.MAP_SHARED | syscall.MAP_FIXED}:    true,
	}
	got := map[MapRule]bool{}
	for _, r := range MapRules {
		if r.Reason == "" {
			t.Errorf("no reason for %+v", r)
		}
		r.Reason = ""
		got[r] = true
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestStdio(t *testing.T) {
	if n, e := mach.HostWrite(2, nil); n != 0 || e != 0 {
		t.Errorf("HostWrite of nothing = %d, %v", n, e2err(e))
	}
	if mode == "" {
		if _, e := mach.HostRead(1000, make([]byte, 1)); e != abi.EBADF {
			t.Errorf("HostRead of no descriptor: %v, want EBADF", e2err(e))
		}
		var p [2]int
		if err := syscall.Pipe(p[:]); err != nil {
			t.Fatal(err)
		}
		go mach.HostWrite(p[1], []byte("hello"))
		b := make([]byte, 10)
		if n, e := mach.HostRead(p[0], b); e != 0 || string(b[:n]) != "hello" {
			t.Errorf("HostRead = %q, %v", b[:n], e2err(e))
		}
		syscall.Close(p[0])
		syscall.Close(p[1])
	}
}
