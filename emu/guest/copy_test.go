package guest_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"pinhole/abi"
	"pinhole/emu/guest"
)

const page = 4096

func TestMain(m *testing.M) {
	guest.TestMode()
	os.Exit(m.Run())
}

// island maps pages of memory with an unreachable page on either side.
func island(t testing.TB, pages int) ([]byte, abi.Addr) {
	t.Helper()
	m, err := syscall.Mmap(-1, 0, (pages+2)*page, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	in := m[page : page+pages*page]
	if err := syscall.Mprotect(in, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(m) })
	return in, addr(in)
}

func addr(b []byte) abi.Addr { return abi.Addr(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

var sizes = func() (s []int) {
	for i := range 300 {
		s = append(s, i)
	}
	return append(s, 511, 512, 513, 1000, 1022, 1023, 1024, 1025, 2000, 4095, 4096, 4097, 10000)
}()

func TestCopyWhole(t *testing.T) {
	mem, _ := island(t, 4)
	src := noise(4 * page)
	for _, n := range sizes {
		for _, off := range []int{0, 1, 7, 8, 15, 33} {
			clear(mem)
			g := mem[off:]
			if got, side := guest.TryCopyOut(addr(g), src[off:off+n]); got != n || side != guest.Neither {
				t.Fatalf("TryCopyOut of %d bytes at offset %d = %d, %v", n, off, got, side)
			}
			if !bytes.Equal(g[:n], src[off:off+n]) || g[n] != 0 || off > 0 && mem[off-1] != 0 {
				t.Fatalf("CopyOut of %d bytes at offset %d: wrong bytes", n, off)
			}
			back := make([]byte, n+1)
			if got, side := guest.TryCopyIn(back[:n], addr(g)); got != n || side != guest.Neither {
				t.Fatalf("TryCopyIn of %d bytes at offset %d = %d, %v", n, off, got, side)
			}
			if !bytes.Equal(back[:n], src[off:off+n]) || back[n] != 0 {
				t.Fatalf("CopyIn of %d bytes at offset %d: wrong bytes", n, off)
			}
		}
	}
}

func TestCopyShort(t *testing.T) {
	mem, base := island(t, 4)
	src := noise(4*page + 1)
	end := base + 4*page
	for _, n := range sizes[1:] {
		for _, have := range []int{0, 1, 3, 8, 15, 16, 17, 31, 63, 64, 65, 300, 1024, 5000} {
			if have >= n {
				continue
			}
			clear(mem)
			at := end - abi.Addr(have)
			if got, side := guest.TryCopyOut(at, src[:n]); got != have || side != guest.Guest {
				t.Fatalf("TryCopyOut of %d bytes, %d of them reachable = %d, %v", n, have, got, side)
			}
			if tail := mem[len(mem)-have:]; !bytes.Equal(tail, src[:have]) {
				t.Fatalf("CopyOut of %d bytes, %d of them reachable: wrong bytes", n, have)
			}
			back := make([]byte, n)
			if got, side := guest.TryCopyIn(back, at); got != have || side != guest.Guest {
				t.Fatalf("TryCopyIn of %d bytes, %d of them reachable = %d, %v", n, have, got, side)
			}
			if !bytes.Equal(back[:have], src[:have]) {
				t.Fatalf("CopyIn of %d bytes, %d of them reachable: wrong bytes", n, have)
			}
		}
	}
}

func TestCopyKernelSide(t *testing.T) {
	mem, _ := island(t, 1)
	image, _ := island(t, 1)
	gone := unsafe.Slice(unsafe.SliceData(image), page+100)[page-50:]
	if n, side := guest.TryCopyOut(addr(mem), gone); n != 50 || side != guest.Kernel {
		t.Errorf("TryCopyOut from an unreadable image page = %d, %v; want 50, Kernel", n, side)
	}
	if n := guest.CopyHost(make([]byte, 100), gone); n != 50 {
		t.Errorf("CopyHost from an unreadable page = %d, want 50", n)
	}
	if n := guest.CopyHost(make([]byte, 30), gone); n != 30 {
		t.Errorf("CopyHost = %d, want 30", n)
	}
}

func TestZero(t *testing.T) {
	mem, base := island(t, 4)
	for _, c := range []struct{ off, n, want uint64 }{
		{0, 0, 0}, {0, 1, 1}, {5, 100, 100}, {0, 4 * page, 4 * page}, {4*page - 3, 10, 3}, {4 * page, 1, 0},
	} {
		copy(mem, bytes.Repeat([]byte{0xff}, len(mem)))
		if got := guest.Zero(base+abi.Addr(c.off), c.n); got != c.want {
			t.Errorf("Zero of %d at %d = %d, want %d", c.n, c.off, got, c.want)
		}
		if got := bytes.Count(mem, []byte{0}); got != int(c.want) {
			t.Errorf("Zero of %d at %d wrote %d bytes", c.n, c.off, got)
		}
	}
}

func TestCopyString(t *testing.T) {
	mem, base := island(t, 2)
	end := base + 2*page
	for n := range 200 {
		s := bytes.Repeat([]byte{'x'}, n)
		for _, room := range []int{n, n + 1, n + 40} {
			clear(mem)
			copy(mem[100:], s)
			dst := make([]byte, room)
			got, ok := guest.CopyString(dst, base+100)
			if got != n || ok != (room > n) || !bytes.Equal(dst[:n], s) {
				t.Fatalf("CopyString of length %d into %d = %d, %v", n, room, got, ok)
			}
		}
		copy(mem[len(mem)-n:], s)
		dst := make([]byte, 500)
		if got, ok := guest.CopyString(dst, end-abi.Addr(n)); got != n || ok {
			t.Fatalf("CopyString of %d bytes before the end = %d, %v; want a fault", n, got, ok)
		}
		if n == 0 {
			continue
		}
		mem[len(mem)-1] = 0
		if got, ok := guest.CopyString(dst, end-abi.Addr(n)); got != n-1 || !ok {
			t.Fatalf("CopyString of %d bytes that end with the page = %d, %v", n-1, got, ok)
		}
	}
}

func TestWords(t *testing.T) {
	mem, base := island(t, 1)
	if !guest.Store32(base, 7) || mem[0] != 7 {
		t.Error("Store32")
	}
	if v, ok := guest.Load32(base); v != 7 || !ok {
		t.Error("Load32 =", v, ok)
	}
	if !guest.Store64(base+8, 1<<40) {
		t.Error("Store64")
	}
	if v, ok := guest.Load64(base + 8); v != 1<<40 || !ok {
		t.Error("Load64 =", v, ok)
	}
	if v, ok := guest.CompareAndSwap32(base, 7, 9); v != 7 || !ok {
		t.Error("CompareAndSwap32 =", v, ok)
	}
	if v, ok := guest.CompareAndSwap32(base, 7, 1); v != 9 || !ok {
		t.Error("CompareAndSwap32 of another value =", v, ok)
	}
	for _, a := range []abi.Addr{base + page, base - 4, 0, base + 2} {
		if _, ok := guest.Load32(a); ok {
			t.Errorf("Load32(%#x) succeeds", a)
		}
		if guest.Store32(a, 1) {
			t.Errorf("Store32(%#x) succeeds", a)
		}
		if _, ok := guest.CompareAndSwap32(a, 0, 1); ok {
			t.Errorf("CompareAndSwap32(%#x) succeeds", a)
		}
	}
	if err := syscall.Mprotect(mem, syscall.PROT_READ); err != nil {
		t.Fatal(err)
	}
	if _, ok := guest.CompareAndSwap32(base, 0, 1); ok {
		t.Error("CompareAndSwap32 of a read-only word succeeds")
	}
	if guest.Store64(base, 1) {
		t.Error("Store64 to a read-only word succeeds")
	}
}

func TestArea(t *testing.T) {
	mem, base := island(t, 4)
	lo, hi := base+page, base+3*page
	guest.SetArea(lo, hi, base, base+16)
	defer guest.TestMode()
	buf := make([]byte, 2*page)
	for _, c := range []struct {
		at   abi.Addr
		n    int
		want int
	}{
		{lo, 10, 10}, {lo - 1, 10, 0}, {hi - 5, 10, 5}, {hi, 10, 0}, {lo, 2 * page, 2 * page},
		{base, 16, 16}, {base + 10, 10, 6}, {base + 16, 1, 0}, {0, 1, 0}, {^abi.Addr(0), 1, 0},
		{^abi.Addr(0) - 4, 10, 0}, {1 << 63, 10, 0},
	} {
		if got := guest.CopyIn(buf[:c.n], c.at); got != c.want {
			t.Errorf("CopyIn of %d at base%+d = %d, want %d", c.n, int64(c.at-base), got, c.want)
		}
		if got := guest.CopyOut(c.at, buf[:c.n]); got != c.want {
			t.Errorf("CopyOut of %d at base%+d = %d, want %d", c.n, int64(c.at-base), got, c.want)
		}
		if got := guest.Zero(c.at, uint64(c.n)); got != uint64(c.want) {
			t.Errorf("Zero of %d at base%+d = %d, want %d", c.n, int64(c.at-base), got, c.want)
		}
		if got := guest.InArea(c.at, uint64(c.n)); got != (c.n == c.want) {
			t.Errorf("InArea(base%+d, %d) = %v", int64(c.at-base), c.n, got)
		}
	}
	if got := guest.Zero(lo, 1<<63); got != 2*page {
		t.Errorf("Zero of 2^63 bytes = %d", got)
	}
	copy(mem[3*page-4:], "abcdefgh")
	if n, ok := guest.CopyString(buf, hi-4); n != 4 || ok {
		t.Errorf("CopyString over the end of the area = %d, %v", n, ok)
	}
	if _, ok := guest.Load32(lo - 4); ok {
		t.Error("Load32 outside the area succeeds")
	}
	if _, ok := guest.Load64(hi - 4); ok {
		t.Error("Load64 over the end of the area succeeds")
	}
}

func TestFixups(t *testing.T) {
	f := guest.Fixups()
	if f[0].Hi != f[1].Lo || f[0].To < f[1].Lo || f[0].To >= f[1].Hi || f[1].To < f[1].Hi {
		t.Errorf("Fixups out of order: %#x", f)
	}
}
