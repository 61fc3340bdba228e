package supervisor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pinhole/blockdev"
)

const (
	testImage = 4 << 20
	testRAM   = 2 << 20
)

// bell is the sandbox's side of the two eventfds.
type bell struct{ in, out int }

func (b bell) Ring() { ring(b.out) }
func (b bell) Wait() {
	var word [8]byte
	syscall.Read(b.in, word[:])
}

// rig is a disk service over real memory and descriptors, with no sandbox yet.
type rig struct {
	*disk
	shared  []byte // the ring, as the sandbox maps it
	ram     []byte // likewise
	mapping []byte // the image, likewise
	path    string
	inFD    int
}

func newRig(t testing.TB, image *os.File) *rig {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{}
	if image == nil {
		r.path = filepath.Join(t.TempDir(), "image")
		f, err := os.Create(r.path)
		must(err)
		must(f.Truncate(testImage))
		image = f
		m, err := unix.Mmap(int(f.Fd()), 0, testImage, unix.PROT_READ, unix.MAP_SHARED)
		must(err)
		r.mapping = m
		t.Cleanup(func() { unix.Munmap(m) })
	} else {
		r.mapping = make([]byte, testImage)
	}
	t.Cleanup(func() { image.Close() })
	ramFD, err := sealedMemory("ram", testRAM)
	must(err)
	ringFD, err := sealedMemory("ring", blockdev.RingBytes)
	must(err)
	mapIt := func(fd, n, prot int) []byte {
		m, err := unix.Mmap(fd, 0, n, prot, unix.MAP_SHARED)
		must(err)
		t.Cleanup(func() { unix.Munmap(m) })
		return m
	}
	r.ram = mapIt(ramFD, testRAM, unix.PROT_READ|unix.PROT_WRITE)
	r.shared = mapIt(ringFD, blockdev.RingBytes, unix.PROT_READ|unix.PROT_WRITE)
	bellOut, err := eventfd()
	must(err)
	in, err := waitable(bellOut)
	must(err)
	out, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	must(err)
	r.inFD = int(bellOut.Fd())
	shared, err := blockdev.NewRing(mapIt(ringFD, blockdev.RingBytes, unix.PROT_READ|unix.PROT_WRITE))
	must(err)
	r.disk = &disk{
		ring: shared, image: int(image.Fd()), writable: testImage,
		ramFD: ramFD, ram: mapIt(ramFD, testRAM, unix.PROT_READ), in: in, out: out,
	}
	t.Cleanup(func() {
		in.Close()
		bellOut.Close()
		for _, fd := range []int{ramFD, ringFD, out} {
			unix.Close(fd)
		}
	})
	return r
}

// serving starts the service for the duration of the test.
func (r *rig) serving(t testing.TB) *rig {
	r.start()
	t.Cleanup(r.stop)
	return r
}

// client is the sandbox's device over the rig, with four bounce pages at the end of the RAM.
func (r *rig) client(t testing.TB) *blockdev.RingDevice {
	t.Helper()
	d, err := blockdev.NewRingDevice(blockdev.RingConfig{
		Ring: r.shared, Image: r.mapping, RAM: r.ram, Bounce: r.ram[testRAM-4*4096:],
		Bell: bell{in: r.out, out: r.inFD},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDiskWrites(t *testing.T) {
	r := newRig(t, nil).serving(t)
	d := r.client(t)
	want := make([]byte, testImage)
	rng := rand.NewChaCha8([32]byte{1})
	rnd := rand.New(rng)
	var arena = r.ram[:testRAM-4*4096]
	for round := range 60 {
		var v []blockdev.Vec
		// More vectors than the ring holds, some of frames, some of other memory, now and then
		// longer than a bounce page. No two overlap: their order is not defined.
		at := 0
		for i := 0; i < 1+round*12 && at < testImage; i++ {
			n := 512 * (1 + rnd.IntN(4))
			if rnd.IntN(50) == 0 {
				n = 512 * (1 + rnd.IntN(40))
			}
			n = min(n, testImage-at)
			var p []byte
			if rnd.IntN(3) > 0 {
				off := 512 * rnd.IntN((len(arena)-n)/512)
				p = arena[off : off+n]
			} else {
				p = make([]byte, n)
				rng.Read(p)
			}
			v = append(v, blockdev.Vec{Off: int64(at), Data: p})
			at += n + 512*rnd.IntN(12)
		}
		rng.Read(arena[:4096*rnd.IntN(20)])
		if err := d.WriteV(v); err != nil {
			t.Fatal(err)
		}
		for _, w := range v {
			copy(want[w.Off:], w.Data)
		}
		if round%10 == 0 {
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := make([]byte, testImage)
	if err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the mapping does not show what was written")
	}
	file, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, want) {
		t.Error("the image file does not hold what was written")
	}
	if n := r.stats.Refused.Load(); n != 0 {
		t.Errorf("%d requests of an honest client were refused", n)
	}
	if r.stats.Flushes.Load() != 6 {
		t.Errorf("flushes: got %d, want 6", r.stats.Flushes.Load())
	}
}

func TestDiskConcurrent(t *testing.T) {
	r := newRig(t, nil).serving(t)
	d := r.client(t)
	const writers = 8
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			p := make([]byte, 4096)
			for i := range 200 {
				binary.LittleEndian.PutUint64(p, uint64(w)<<32|uint64(i))
				off := int64(w*(testImage/writers) + i%64*4096)
				if err := d.WriteV([]blockdev.Vec{{Off: off, Data: p}}); err != nil {
					t.Error(err)
				}
				if i%16 == 0 {
					if err := d.Flush(); err != nil {
						t.Error(err)
					}
				}
				var q [8]byte
				if d.ReadAt(q[:], off); !bytes.Equal(q[:], p[:8]) {
					t.Errorf("writer %d: a write that returned is not seen", w)
				}
			}
		})
	}
	wg.Wait()
}

func TestDiskBounds(t *testing.T) {
	r := newRig(t, nil).serving(t)
	d := r.client(t)
	for _, v := range []blockdev.Vec{
		{Off: testImage, Data: make([]byte, 512)},
		{Off: testImage - 512, Data: make([]byte, 1024)},
		{Off: -512, Data: make([]byte, 512)},
		{Off: 100, Data: make([]byte, 512)},
		{Off: 0, Data: make([]byte, 100)},
		{Off: 1<<63 - 512, Data: make([]byte, 512)},
	} {
		if err := d.WriteV([]blockdev.Vec{v}); err == nil {
			t.Errorf("write of %d bytes at %d succeeded", len(v.Data), v.Off)
		}
	}
	if err := d.ReadAt(make([]byte, 2), testImage-1); err == nil {
		t.Error("a read past the end succeeded")
	}
	if err := d.WriteV(nil); err != nil {
		t.Errorf("empty write: %v", err)
	}
}

func TestDiskDiscard(t *testing.T) {
	r := newRig(t, nil).serving(t)
	d := r.client(t)
	for i := range r.ram {
		r.ram[i] = 0xa5
	}
	if err := d.DiscardRAM(64<<10, 1<<20); err != nil {
		t.Fatal(err)
	}
	// Before anything reads the range, which would make it pages again.
	var st unix.Stat_t
	if err := unix.Fstat(r.ramFD, &st); err != nil {
		t.Fatal(err)
	}
	if got, want := st.Blocks*512, int64(testRAM-1<<20); got != want {
		t.Errorf("the memory holds %d bytes after the discard, want %d", got, want)
	}
	for i, b := range r.ram {
		want := byte(0xa5)
		if i >= 64<<10 && i < 64<<10+1<<20 {
			want = 0
		}
		if b != want {
			t.Fatalf("byte %#x is %#x, want %#x", i, b, want)
		}
	}
}

// /dev/full answers every write with ENOSPC.
func TestDiskFull(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no /dev/full:", err)
	}
	r := newRig(t, f).serving(t)
	d := r.client(t)
	err = d.WriteV([]blockdev.Vec{{Off: 4096, Data: r.ram[:4096]}, {Off: 8192, Data: r.ram[4096:8192]}})
	if !errors.Is(err, blockdev.ErrNoSpace) {
		t.Errorf("write to a full disk: got %v, want ErrNoSpace", err)
	}
	if got := r.stats.NoSpace.Load(); got != 2 {
		t.Errorf("counted %d writes without space, want 2", got)
	}
	if err := d.DiscardRAM(0, 4096); err != nil {
		t.Errorf("a request after the failed one: %v", err)
	}
}

func TestDiskHostErrors(t *testing.T) {
	f, err := os.Open("/dev/null") // not for writing
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, f).serving(t)
	d := r.client(t)
	err = d.WriteV([]blockdev.Vec{{Off: 0, Data: r.ram[:512]}})
	if err == nil || errors.Is(err, blockdev.ErrNoSpace) {
		t.Errorf("write to a descriptor that is not for writing: got %v", err)
	}
	if err := d.Flush(); err == nil {
		t.Error("flush of /dev/null succeeded")
	}
}

func TestRequestCheck(t *testing.T) {
	const top = ^uint64(0)
	w := func(n uint32, off, ram uint64) blockdev.Request {
		return blockdev.Request{Op: blockdev.OpWrite, Len: n, Off: off, RAM: ram}
	}
	x := func(n uint32, off, ram uint64) blockdev.Request {
		return blockdev.Request{Op: blockdev.OpDiscard, Len: n, Off: off, RAM: ram}
	}
	for _, c := range []struct {
		name string
		q    blockdev.Request
		want bool
	}{
		{"first sector", w(512, 0, 0), true},
		{"last sector", w(512, testImage-512, testRAM-512), true},
		{"largest", w(blockdev.MaxTransfer, 0, 0), true},
		{"larger", w(blockdev.MaxTransfer+512, 0, 0), false},
		{"empty", w(0, 0, 0), false},
		{"odd length", w(511, 0, 0), false},
		{"odd offset", w(512, 1, 0), false},
		{"odd memory", w(512, 0, 8), false},
		{"across the image's end", w(1024, testImage-512, 0), false},
		{"behind the image", w(512, testImage, 0), false},
		{"across the memory's end", w(1024, 0, testRAM-512), false},
		{"behind the memory", w(512, 0, testRAM), false},
		{"offset near 2^64", w(512, top-511, 0), false},
		{"memory near 2^64", w(512, 0, top-511), false},
		{"offset near 2^63", w(512, 1<<63, 0), false},
		{"length of all bits", w(^uint32(0), 0, 0), false},
		{"flush", blockdev.Request{Op: blockdev.OpFlush}, true},
		{"flush of a range", blockdev.Request{Op: blockdev.OpFlush, Len: 512}, false},
		{"discard", x(4096, 0, testRAM-4096), true},
		{"discard of all", x(testRAM, 0, 0), true},
		{"discard of nothing", x(0, 0, 0), false},
		{"discard of half a page", x(2048, 0, 0), false},
		{"discard behind the memory", x(4096, 0, testRAM), false},
		{"discard near 2^64", x(8192, 0, top-4095), false},
		{"discard of the image", x(4096, 4096, 0), false},
		{"part of a commit", blockdev.Request{Op: blockdev.OpWrite | blockdev.OpPart, Len: 512}, true},
		{"part behind the image", blockdev.Request{Op: blockdev.OpWrite | blockdev.OpPart, Len: 512, Off: testImage}, false},
		{"flush as a part", blockdev.Request{Op: blockdev.OpFlush | blockdev.OpPart}, false},
		{"commit", blockdev.Request{Op: blockdev.OpCommit, Len: 4096, Off: 4096, RAM: 8192}, true},
		{"commit without a record", blockdev.Request{Op: blockdev.OpCommit}, true},
		{"commit of nothing somewhere", blockdev.Request{Op: blockdev.OpCommit, Off: 512}, false},
		{"commit behind the image", blockdev.Request{Op: blockdev.OpCommit, Len: 512, Off: testImage}, false},
		{"commit behind the memory", blockdev.Request{Op: blockdev.OpCommit, Len: 512, RAM: testRAM}, false},
		{"commit as a part", blockdev.Request{Op: blockdev.OpCommit | blockdev.OpPart, Len: 512}, false},
		{"no operation", blockdev.Request{}, false},
		{"unknown operation", blockdev.Request{Op: 77, Len: 512}, false},
	} {
		if got := c.q.Check(testImage, testRAM); got != c.want {
			t.Errorf("%s: %+v: got %v, want %v", c.name, c.q, got, c.want)
		}
	}
	if w(512, 0, 0).Check(0, testRAM) {
		t.Error("a write to a read-only image passed")
	}
}

// Malformed requests among good ones are refused one by one; the good ones are served.
func TestDiskRefuses(t *testing.T) {
	r := newRig(t, nil)
	ring, _ := blockdev.NewRing(r.shared)
	copy(r.ram, bytes.Repeat([]byte("x"), 4096))
	bad := 0
	for i := range uint32(blockdev.RingEntries) {
		q := blockdev.Request{Op: blockdev.OpWrite, Len: 512, Tag: uint64(i), Off: uint64(i) * 512}
		if i%5 == 0 {
			q.Off = testImage - 256
			bad++
		}
		ring.PutRequest(i, q)
	}
	ring.PublishRequests(blockdev.RingEntries)
	r.serving(t)
	for ring.ReplyTail() != blockdev.RingEntries {
		time.Sleep(time.Millisecond)
	}
	for i := range uint32(blockdev.RingEntries) {
		p := ring.Reply(i)
		want := blockdev.StatusOK
		if p.Tag%5 == 0 {
			want = blockdev.StatusRefused
		}
		if p.Status != want {
			t.Errorf("request %d: status %d, want %d", p.Tag, p.Status, want)
		}
	}
	if got := r.stats.Refused.Load(); got != uint64(bad) {
		t.Errorf("counted %d refusals, want %d", got, bad)
	}
	for i := range blockdev.RingEntries {
		if got := r.mapping[i*512] == 'x'; got != (i%5 != 0) {
			t.Errorf("sector %d written: %v", i, got)
		}
	}
}

// A tail that jumps, in either direction, is counted and given up on; an honest ring after it works.
func TestDiskGarbledTail(t *testing.T) {
	r := newRig(t, nil).serving(t)
	ring, _ := blockdev.NewRing(r.shared)
	tail := uint32(0)
	for i, jump := range []uint32{blockdev.RingEntries + 1, 1 << 31, ^uint32(0), 1 << 20} {
		tail += jump
		ring.PublishRequests(tail)
		bell{out: r.inFD}.Ring()
		for r.stats.Garbled.Load() != uint64(i+1) {
			time.Sleep(time.Millisecond)
		}
	}
	ring.PutRequest(tail, blockdev.Request{Op: blockdev.OpFlush, Tag: 99})
	ring.PublishRequests(tail + 1)
	bell{out: r.inFD}.Ring()
	for ring.ReplyTail() != 1 {
		time.Sleep(time.Millisecond)
	}
	if p := ring.Reply(0); p != (blockdev.Reply{Tag: 99}) {
		t.Errorf("got %+v", p)
	}
}

// Flushes beyond what the rules allow at once are refused, not queued.
func TestDiskFlushFlood(t *testing.T) {
	r := newRig(t, nil)
	r.flush.wanted.L = &r.flush.mu
	for i := range uint64(maxFlushes + 10) {
		r.wantFlush(blockdev.Request{Op: blockdev.OpFlush, Tag: i})
	}
	if len(r.flush.waiting) != maxFlushes || r.stats.Refused.Load() != 10 {
		t.Errorf("queued %d and refused %d flushes, want %d and 10", len(r.flush.waiting), r.stats.Refused.Load(), maxFlushes)
	}
}

// A sandbox that filled the doorbell cannot keep the supervisor from ending.
func TestDiskStopsWithFullDoorbell(t *testing.T) {
	r := newRig(t, nil)
	word := [8]byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if _, err := unix.Write(r.inFD, word[:]); err != nil {
		t.Fatal(err)
	}
	r.closed.Store(true)
	r.start()
	r.stop()
}

// FuzzRing lets a hostile sandbox write whatever it likes into the ring, while it is served.
func FuzzRing(f *testing.F) {
	seed := make([]byte, 0, 64)
	seed = binary.LittleEndian.AppendUint32(seed, 3)
	for _, op := range []uint32{1, 2, 3, 4, 257} {
		seed = binary.LittleEndian.AppendUint32(seed, op)
		seed = binary.LittleEndian.AppendUint32(seed, 4096)
		seed = binary.LittleEndian.AppendUint64(seed, 7)
		seed = binary.LittleEndian.AppendUint64(seed, 0)
		seed = binary.LittleEndian.AppendUint64(seed, 8192)
	}
	f.Add(seed)
	f.Add(bytes.Repeat([]byte{0xff}, 400))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newRig(t, nil).serving(t)
		ring, _ := blockdev.NewRing(r.shared)
		if len(b) >= 4 {
			// The tail as given, then the rest over the requests, then single words anywhere.
			tail := binary.LittleEndian.Uint32(b)
			copy(r.shared[4096:], b[4:])
			ring.PublishRequests(tail)
			bell{out: r.inFD}.Ring()
			for i := 4; i+8 <= len(b); i += 8 {
				at := int(binary.LittleEndian.Uint32(b[i:])) % (len(r.shared) / 4) * 4
				if at < 0 {
					at = -at
				}
				*(*uint32)(unsafe.Pointer(&r.shared[at])) = binary.LittleEndian.Uint32(b[i+4:])
			}
		}
		// The service still answers: a marked request gets its reply sooner or later.
		const mark = 0x6d61726b6d61726b
		found := false
		for tries := 0; !found; tries++ {
			if tries > 10000 {
				t.Fatal("the service does not answer any more")
			}
			tail := ring.SubmitTail()
			ring.PutRequest(tail, blockdev.Request{Op: blockdev.OpFlush, Tag: mark})
			ring.PublishRequests(tail + 1)
			bell{out: r.inFD}.Ring()
			time.Sleep(100 * time.Microsecond)
			for i := range uint32(blockdev.RingEntries) {
				found = found || ring.Reply(i).Tag == mark
			}
		}
		if st, err := os.Stat(r.path); err != nil || st.Size() != testImage {
			t.Fatalf("the image's size changed: %v %v", st.Size(), err)
		}
	})
}

func BenchmarkDisk(b *testing.B) {
	for _, c := range []struct {
		name  string
		pages int
	}{{"write=4K", 1}, {"write=64K", 16}, {"write=1M", 256}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, nil).serving(b)
			d := r.client(b)
			v := make([]blockdev.Vec, c.pages)
			for i := range v {
				v[i] = blockdev.Vec{Off: int64(i * 4096), Data: r.ram[i*4096 : i*4096+4096]}
			}
			b.SetBytes(int64(c.pages) * 4096)
			b.ReportAllocs()
			for b.Loop() {
				if err := d.WriteV(v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("commit", func(b *testing.B) {
		r := newRig(b, nil).serving(b)
		d := r.client(b)
		var v []blockdev.Vec
		for i := range 4 {
			v = append(v, blockdev.Vec{Off: int64(i * 4096), Data: r.ram[i*4096 : i*4096+4096]})
		}
		for b.Loop() {
			if err := d.Commit(v, blockdev.Vec{Off: 1 << 16, Data: r.ram[:4096]}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("commit by hand", func(b *testing.B) { // the least that it can cost
		r := newRig(b, nil)
		buf := make([]byte, 4*4096)
		for b.Loop() {
			unix.Pwrite(r.image, buf, 0)
			unix.Fdatasync(r.image)
			unix.Pwrite(r.image, buf[:4096], 1<<16)
			unix.Fdatasync(r.image)
		}
	})
	b.Run("flush", func(b *testing.B) {
		r := newRig(b, nil).serving(b)
		d := r.client(b)
		for b.Loop() {
			if err := d.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
