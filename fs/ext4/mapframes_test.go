package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/vfs"
)

// fakeKernel shows frames of one file as the kernel does, and stores to them.
type fakeKernel struct {
	t     *testing.T
	arena *blockdev.Arena
	n     vfs.FrameMapper
	shown map[int64]shownPage // by page of the file
	asked int                 // calls of revoke
}

type shownPage struct {
	ram   int64 // -1: shown from the device, or a hole
	home  int64
	write bool
}

func (k *fakeKernel) revoke(ino uint64, off, n int64, why vfs.RevokeReason) {
	k.asked++
	for page := range k.shown {
		if at := page << pageShift; at+pageSize > off && at < off+n {
			delete(k.shown, page)
		}
	}
}

// fault makes a page accessible. It returns false behind the end of the file.
func (k *fakeKernel) fault(page int64, write bool) (shownPage, bool) {
	if p, ok := k.shown[page]; ok && (p.write || !write) {
		return p, true
	}
	for {
		asked := k.asked
		list, e := k.n.MapFrames(page<<pageShift, 4*pageSize, write)
		if e != 0 {
			k.t.Fatalf("MapFrames of page %d: %v", page, e)
		}
		if asked != k.asked {
			continue
		}
		at := page
		for _, f := range list {
			if f.Off != at<<pageShift || f.Len <= 0 || f.Len%pageSize != 0 || write && f.RAM < 0 {
				k.t.Fatalf("MapFrames of page %d: %+v", page, list)
			}
			for i := range f.Len >> pageShift {
				s := shownPage{ram: -1, home: -1, write: write}
				if f.RAM >= 0 {
					s.ram = f.RAM + i<<pageShift
				} else if f.Home >= 0 {
					s.home = f.Home + i<<pageShift
				}
				if old, ok := k.shown[at]; ok && old.ram >= 0 {
					if old.ram != s.ram {
						k.t.Fatalf("page %d moved from %#x to %#x without a word", at, old.ram, s.ram)
					}
					s.write = s.write || old.write
				}
				k.shown[at] = s
				at++
			}
		}
		p, ok := k.shown[page]
		return p, ok && len(list) > 0
	}
}

func (k *fakeKernel) unmap(from, to int64) {
	for page := from; page < to; page++ {
		delete(k.shown, page)
	}
	k.n.UnmapFrames(from<<pageShift, (to-from)<<pageShift)
}

// TestMappedFile changes a file through a mapping, and in every other way, in a cache that does not
// hold it, and compares with a slice of bytes.
func TestMappedFile(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(bs, "/", seed), func(t *testing.T) { mappedFile(t, bs, seed, 4000) })
		}
	}
}

func mappedFile(t *testing.T, bs string, seed uint64, steps int) {
	const size = 4 << 20
	img := mkfs(t, "32M", "-b", bs)
	arena := blockdev.NewArena(make([]byte, 1<<20))
	k := &fakeKernel{t: t, arena: arena, shown: make(map[int64]shownPage)}
	dev := faultdev.New(img)
	fs, err := Mount(faultdev.Mapped{Device: dev}, Options{Arena: arena, Log: t.Logf, FlushAfter: time.Hour, Revoke: k.revoke})
	if err != nil {
		t.Fatal(err)
	}
	root := fs.Root()
	n := create(t, root, "file", abi.S_IFREG|0o600)
	k.n = n.(vfs.FrameMapper)
	alloc := n.(vfs.Allocator)
	rnd := rand.New(rand.NewPCG(seed, 77))
	var want []byte
	grow := func(to int) {
		if to > len(want) {
			want = append(want, make([]byte, to-len(want))...)
		}
	}
	random := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		return p
	}
	for step := range steps {
		off, count := rnd.IntN(size), 1+rnd.IntN(1<<(3+rnd.IntN(13)))
		page := int64(off >> pageShift)
		switch op := rnd.IntN(100); {
		case op < 30: // store
			p, ok := k.fault(page, true)
			if inside := int(page)<<pageShift < len(want); ok != inside {
				t.Fatalf("step %d: page %d of a file of %d bytes: %v", step, page, len(want), ok)
			}
			if !ok {
				continue
			}
			in := off & (pageSize - 1)
			data := random(min(count, pageSize-in))
			copy(arena.Bytes()[int(p.ram)+in:], data)
			if off < len(want) {
				copy(want[off:min(off+len(data), len(want))], data)
			}
		case op < 50: // load
			p, ok := k.fault(page, false)
			if !ok {
				continue
			}
			got := zeros[:pageSize]
			if p.ram >= 0 {
				got = arena.Bytes()[p.ram : p.ram+pageSize]
			} else if p.home >= 0 {
				got = dev.Content()[p.home : p.home+pageSize]
			}
			at := int(page) << pageShift
			in := min(pageSize, len(want)-at)
			if !bytes.Equal(got[:in], want[at:at+in]) {
				t.Fatalf("step %d: page %d shows something else (%+v)", step, page, p)
			}
		case op < 70:
			data := random(count)
			if got, _, e := n.Write(int64(off), count, &byteSource{p: data}); e != 0 || got != count {
				t.Fatalf("step %d: write: %d, %v", step, got, e)
			}
			grow(off + count)
			copy(want[off:], data)
		case op < 80:
			if off >= len(want) {
				continue
			}
			var s sink
			if got, e := n.Read(int64(off), count, &s); e != 0 || !bytes.Equal(s.Bytes(), want[off:off+got]) {
				t.Fatalf("step %d: read of %d at %d: %d, %v, or something else", step, count, off, got, e)
			}
		case op < 84:
			if e := alloc.Allocate(abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE, int64(off), int64(count)); e != 0 {
				t.Fatalf("step %d: punch: %v", step, e)
			}
			if off < len(want) {
				clear(want[off:min(off+count, len(want))])
			}
		case op < 87:
			if e := alloc.Allocate(abi.FALLOC_FL_ZERO_RANGE, int64(off), int64(count)); e != 0 {
				t.Fatalf("step %d: zero: %v", step, e)
			}
			grow(off + count)
			clear(want[off : off+count])
		case op < 89:
			if e := alloc.Allocate(0, int64(off), int64(count)); e != 0 {
				t.Fatalf("step %d: allocate: %v", step, e)
			}
			grow(off + count)
		case op < 92:
			if e := n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: int64(off)}); e != 0 {
				t.Fatalf("step %d: truncate: %v", step, e)
			}
			grow(off)
			want = want[:off]
		case op < 95:
			k.unmap(page, page+int64(rnd.IntN(200)))
		case op < 97:
			if e := n.Sync(false); e != 0 {
				t.Fatalf("step %d: sync: %v", step, e)
			}
		default:
			if err := fs.writeContent(now); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
		}
		if step%400 == 399 {
			if e := n.Sync(false); e != 0 {
				t.Fatal(e)
			}
			onDisk(t, dev, want)
		}
	}
	if e := fs.Sync(); e != 0 {
		t.Fatal(e)
	}
	onDisk(t, dev, want)
	k.unmap(0, 1<<12)
	n.Unref()
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	checkNothingLeft(t, fs)
	fsck(t, dev.Content())
}

// onDisk compares the file with what a mount of the image finds.
func onDisk(t *testing.T, dev *faultdev.Device, want []byte) {
	t.Helper()
	again, _ := mount(t, dev.Image(), true, Options{ReadOnly: true})
	defer again.Unmount()
	root := again.Root()
	defer root.Unref()
	n, e := root.Lookup("file")
	if e != 0 {
		t.Fatal(e)
	}
	defer n.Unref()
	if got := readAll(t, n); !bytes.Equal(got, want) {
		at := 0
		for at < len(got) && at < len(want) && got[at] == want[at] {
			at++
		}
		t.Fatalf("on the device are %d bytes, should be %d; they differ from %d on", len(got), len(want), at)
	}
}

// TestClaimAhead: pages that are claimed for stores are dirty; those ahead of the one that is stored to get
// no place for it.
func TestClaimAhead(t *testing.T) {
	img := mkfs(t, "32M", "-b", "4096")
	dev := faultdev.New(img)
	arena := blockdev.NewArena(make([]byte, 1<<20))
	fs, err := Mount(faultdev.Mapped{Device: dev}, Options{Arena: arena, Log: t.Logf, FlushAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	root := fs.Root()
	n := create(t, root, "file", abi.S_IFREG|0o600).(*inode)
	const pages = 8
	if got, _, e := n.Write(0, pages*pageSize, &copySource{bytes.Repeat([]byte{1}, pages*pageSize)}); e != 0 || got != pages*pageSize {
		t.Fatalf("write: %d, %v", got, e)
	}
	size := uint64(2 * pages * pageSize)
	if e := n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: int64(size)}); e != 0 {
		t.Fatal(e)
	}
	if e := n.Sync(false); e != 0 {
		t.Fatal(e)
	}
	for _, c := range []struct{ from, dirty int32 }{{0, pages}, {pages, pages + 1}} {
		list, e := n.MapFrames(int64(c.from)<<pageShift, pages*pageSize, true)
		if e != 0 {
			t.Fatal(e)
		}
		copy(arena.Run(uint32(list[0].RAM>>pageShift), 1), "stored")
		if got := n.pages.ndirty.Load(); got != c.dirty {
			t.Errorf("%d pages are dirty after those from %d were claimed, want %d", got, c.from, c.dirty)
		}
	}
	n.UnmapFrames(0, int64(size))
	if e := n.Sync(false); e != 0 {
		t.Fatal(e)
	}
	var a vfs.Attr
	if e := n.Attr(&a); e != 0 {
		t.Fatal(e)
	}
	if a.Blocks != (pages+1)*pageSize/512 {
		t.Errorf("the file has %d blocks of 512, want %d", a.Blocks, (pages+1)*pageSize/512)
	}
	want := make([]byte, size)
	copy(want, bytes.Repeat([]byte{1}, pages*pageSize))
	copy(want, "stored")
	copy(want[pages*pageSize:], "stored")
	n.Unref()
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	onDisk(t, dev, want)
}
