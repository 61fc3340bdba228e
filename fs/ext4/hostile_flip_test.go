package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// flip is a change of one field of a structure.
type flip struct {
	s     *structure
	off   int // in the structure
	width int
	value uint64
}

func (f flip) String() string {
	return fmt.Sprintf("%v: %d bytes at %#x become %#x", f.s, f.width, f.off, f.value)
}

// choose makes up a flip: a kind of structure, one of them, a field, and a value that somebody who
// means ill might choose.
func (a *anatomy) choose(rnd *rand.Rand) flip {
	var kinds []string
	for i := range a.list {
		if !slices.Contains(kinds, a.list[i].kind) {
			kinds = append(kinds, a.list[i].kind)
		}
	}
	kind := kinds[rnd.IntN(len(kinds))]
	var same []*structure
	for i := range a.list {
		if a.list[i].kind == kind {
			same = append(same, &a.list[i])
		}
	}
	f := flip{s: same[rnd.IntN(len(same))], width: []int{1, 2, 4, 4}[rnd.IntN(4)]}
	n := f.s.n
	if rnd.IntN(2) == 0 {
		n = min(n, 64) // headers are at the start
	}
	f.off = rnd.IntN(n) &^ (f.width - 1)
	old := uint64(0)
	p := a.img[f.s.off+f.off:]
	for i := range f.width {
		old |= uint64(p[i]) << (8 * i)
	}
	top := uint64(1)<<(8*f.width) - 1
	other := a.list[rnd.IntN(len(a.list))]
	values := []uint64{0, 1, 2, top, top - 1, top >> 1, top>>1 + 1, old + 1, old - 1, old ^ 1<<rnd.IntN(8*f.width), rnd.Uint64(),
		f.s.block, uint64(f.s.ino), other.block, uint64(other.ino), a.sb.BlocksCount, a.sb.BlocksCount - 1, uint64(a.bs), 8, 12}
	f.value = values[rnd.IntN(len(values))] & top
	return f
}

// apply makes the change, with checksums that agree.
func (f flip) apply(img []byte) {
	p := img[f.s.off+f.off:]
	for i := range f.width {
		p[i] = byte(f.value >> (8 * i))
	}
	if f.s.seal != nil {
		f.s.seal(img)
	}
	repair(img)
}

// meter is a device that counts what is asked of it, and has enough at some point.
type meter struct {
	*faultdev.Device
	left atomic.Int64
	// watch, if not nil, sees each write.
	watch func(off int64, n int)
}

func (m *meter) take(err error) error {
	if m.left.Add(-1) < 0 {
		return fmt.Errorf("too many operations")
	}
	return err
}

func (m *meter) ReadAt(p []byte, off int64) error {
	if err := m.take(nil); err != nil {
		return err
	}
	return m.Device.ReadAt(p, off)
}

func (m *meter) WriteV(v []blockdev.Vec) error {
	for _, w := range v {
		if err := m.take(nil); err != nil {
			return err
		}
		if m.watch != nil {
			m.watch(w.Off, len(w.Data))
		}
	}
	return m.Device.WriteV(v)
}

// hostileBase is an image to be damaged, and what is known about it.
type hostileBase struct {
	*anatomy
	tree map[string]string
	inos map[string]uint32
	// alloc is what using the sound image allocates, in bytes.
	alloc uint64
}

func newHostileBase(t testing.TB, img []byte) *hostileBase {
	t.Helper()
	a, err := dissect(img)
	if err != nil {
		t.Fatal(err)
	}
	b := &hostileBase{anatomy: a, inos: make(map[string]uint32)}
	fs, _ := mount(t, bytes.Clone(img), true, Options{ReadOnly: true})
	root := fs.Root()
	b.tree = tree(t, root)
	for path := range b.tree {
		n := lookupPath(root, path)
		b.inos[path] = uint32(n.Ino())
		n.Unref()
	}
	root.Unref()
	fs.Unmount()
	return b
}

// lookupPath returns what is at an absolute path without links, or nil.
func lookupPath(root vfs.Node, path string) vfs.Node {
	n := root
	n.Ref()
	for _, name := range strings.Split(path[1:], "/") {
		c, e := n.Lookup(name)
		n.Unref()
		if e != 0 {
			return nil
		}
		n = c
	}
	return n
}

// limits of what a damaged image may cost, beyond what it costs when it is sound.
const (
	hostileOps    = 60 // device operations for each block of the image
	hostileMemory = 48 << 20
	hostileTime   = 4 * time.Minute
)

// trial is a damaged image in use.
type trial struct {
	b      *hostileBase
	flips  []flip
	dev    *meter
	fs     *FS
	log    []string
	late   []string // writes after damage was found
	result error
}

// use mounts a damaged image and does everything with it, and returns what must not happen.
func (b *hostileBase) use(img []byte, flips []flip, seed uint64) error {
	tr := &trial{b: b, flips: flips, dev: &meter{Device: faultdev.New(img)}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				buf := make([]byte, 1<<14)
				done <- fmt.Errorf("panic: %v\n%s", r, buf[:runtime.Stack(buf, false)])
			}
		}()
		done <- tr.run(seed)
	}()
	var err error
	select {
	case err = <-done:
	case <-time.After(hostileTime):
		buf := make([]byte, 1<<16)
		return fmt.Errorf("it does not end:\n%s", buf[:runtime.Stack(buf, true)])
	}
	runtime.ReadMemStats(&after)
	used := after.TotalAlloc - before.TotalAlloc
	switch {
	case err != nil:
	case b.alloc == 0:
		b.alloc = used
	case used > 4*b.alloc+hostileMemory:
		err = fmt.Errorf("%d MiB allocated; the sound image takes %d", used>>20, b.alloc>>20)
	}
	if err == nil && tr.dev.left.Load() < 0 {
		err = fmt.Errorf("more than %d operations of the device", hostileOps*b.sb.BlocksCount)
	}
	if err == nil && len(tr.late) > 0 {
		err = fmt.Errorf("written although damage had been found: %s", strings.Join(tr.late, ", "))
	}
	if err != nil && len(tr.log) > 0 {
		err = fmt.Errorf("%w\nlog:\n%s", err, strings.Join(tr.log, "\n"))
	}
	return err
}

func (tr *trial) run(seed uint64) error {
	tr.dev.left.Store(int64(hostileOps * tr.b.sb.BlocksCount))
	var dev blockdev.Device = tr.dev
	fs, err := Mount(dev, Options{CacheBytes: 2 << 20, FlushAfter: time.Hour, CommitEvery: time.Hour, Log: func(format string, args ...any) {
		if len(tr.log) < 20 {
			tr.log = append(tr.log, fmt.Sprintf(format, args...))
		}
	}})
	if err != nil {
		if err.Error() == "" {
			return fmt.Errorf("a mount fails and does not say why")
		}
		return nil
	}
	tr.fs = fs
	tr.dev.watch = tr.written
	root := fs.Root()
	walkHostile(root, 0, new(int))
	if err := tr.witnesses(root); err != nil {
		return err
	}
	g := newGenerator(root, seed)
	quiet := &quietT{}
	for range 60 {
		g.step(quiet)
	}
	tr.attack(root)
	fs.Sync()
	walkHostile(root, 0, new(int))
	g.close()
	root.Unref()
	fs.Unmount()
	if fs.damaged.Load() {
		if !fs.ReadOnly() {
			return fmt.Errorf("damage was found, and the file system is not read-only")
		}
		if !slices.ContainsFunc(tr.log, func(s string) bool { return strings.Contains(s, "corrupt ext4: ") }) {
			return fmt.Errorf("damage was found, and not reported")
		}
	}
	// What is left can be looked at again.
	tr.dev.watch = nil
	again, err := Mount(dev, Options{CacheBytes: 2 << 20, ReadOnly: true})
	if err != nil {
		return nil
	}
	root = again.Root()
	walkHostile(root, 0, new(int))
	root.Unref()
	again.Unmount()
	return nil
}

// written sees a write: after damage was found, only the superblocks may be, to say so.
func (tr *trial) written(off int64, n int) {
	if !tr.fs.damaged.Load() || len(tr.late) > 4 {
		return
	}
	block := uint64(off) >> tr.b.blockLog()
	if off == disk.SuperblockOffset || block == disk.SuperblockOffset>>tr.b.blockLog() {
		return
	}
	if j := tr.b.content[tr.b.sb.JournalInum]; len(j) > 0 && block == j[0] {
		return
	}
	tr.late = append(tr.late, fmt.Sprintf("%d bytes in block %d", n, block))
}

func (a *anatomy) blockLog() uint { return uint(a.sb.LogBlockSize) + 10 }

// attack changes what the flips were in, by name.
func (tr *trial) attack(root vfs.Node) {
	for path, ino := range tr.b.inos {
		if !slices.ContainsFunc(tr.flips, func(f flip) bool { return f.s.ino == ino }) {
			continue
		}
		n := lookupPath(root, path)
		if n == nil {
			continue
		}
		n.SetAttr(&vfs.SetAttr{Mask: vfs.SetMode | vfs.SetMtime, Mode: 0o600})
		if x, ok := n.(vfs.XattrNode); ok {
			x.Setxattr("user.new", bytes.Repeat([]byte("n"), 200), 0)
			x.Removexattr("user.large")
		}
		if isType(n.Mode(), abi.S_IFDIR) {
			for i := range 40 {
				if c, e := n.Create(fmt.Sprintf("%0*d", 20+i*3, i), &vfs.NewNode{Mode: abi.S_IFREG | 0o644}); e == 0 {
					c.Unref()
				}
			}
			for i := range 40 {
				n.Rename(fmt.Sprintf("%0*d", 20+i*3, i), root, fmt.Sprint("moved", i), 0)
			}
			for name := range tr.b.inos {
				if dir, base, ok := cutPath(name); ok && dir == path {
					n.Unlink(base)
				}
			}
		} else {
			n.Write(0, 5000, &copySource{make([]byte, 5000)})
			n.Write(100000, 3000, &copySource{make([]byte, 3000)})
			n.Write(vfs.AtEnd, 3000, &copySource{make([]byte, 3000)})
			n.Sync(false)
			if al, ok := n.(vfs.Allocator); ok {
				al.Allocate(abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE, 2000, 9000)
				al.Allocate(0, 50000, 90000)
			}
			n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: 7777})
			n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: 0})
			n.Sync(false)
			if dir, base, ok := cutPath(path); ok {
				if d := lookupPath(root, dir); d != nil {
					d.Rename(base, root, "renamed", 0)
					root.Unlink("renamed")
					d.Unref()
				}
			}
		}
		n.Unref()
	}
}

func cutPath(path string) (dir, base string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:], i > 0
}

// witnesses reads what the flips cannot have touched.
func (tr *trial) witnesses(root vfs.Node) error {
	if tr.b.sb.HasIncompat(disk.IncompatRecover) {
		return nil // what the blocks at home mean is not known before the replay
	}
	bad := make(map[uint32]bool)
	for _, f := range tr.flips {
		switch f.s.kind {
		case "block bitmap", "inode bitmap":
		case "attributes in an inode", "attribute block", "directory block", "htree root", "htree node", "extent block", "indirect block":
			bad[f.s.ino] = true
		case "inode", "extent root", "block map":
			// A block number can lead to what belongs to somebody else, who loses it then.
			if f.off >= disk.BlockAreaOffset || f.s.kind != "inode" {
				return nil
			}
			bad[f.s.ino] = true
		default:
			return nil
		}
		if f.s.kind == "extent block" || f.s.kind == "indirect block" {
			return nil
		}
	}
	if bad[disk.RootInode] {
		return nil
	}
	for path, want := range tr.b.tree {
		touched := false
		for p := path; p != ""; {
			touched = touched || bad[tr.b.inos[p]]
			p, _, _ = cutPath(p)
		}
		if touched {
			continue
		}
		n := lookupPath(root, path)
		if n == nil {
			return fmt.Errorf("%s, which is sound, is not found", path)
		}
		got, err := describeSafely(n)
		n.Unref()
		if err != nil {
			return fmt.Errorf("%s, which is sound: %v", path, err)
		}
		if got != want {
			return fmt.Errorf("%s, which is sound: %s, before: %s", path, got, want)
		}
	}
	return nil
}

// describeSafely is describe, with failures as an error.
func describeSafely(n vfs.Node) (out string, err error) {
	defer func() {
		if r := recover(); r != nil {
			if f, ok := r.(failed); ok {
				err = f
				return
			}
			panic(r)
		}
	}()
	return describe(failT{}, n), nil
}

type failed struct{ error }

// failT is a test whose failure is a panic.
type failT struct{ testing.TB }

func (failT) Helper()                      {}
func (failT) Fatalf(f string, args ...any) { panic(failed{fmt.Errorf(f, args...)}) }

// dirtyImage is hostileImage as a crash leaves it: with a log to be replayed, and orphans.
func dirtyImage(t testing.TB, opts ...string) []byte {
	t.Helper()
	fs, dev := mount(t, hostileImage(t, opts...), true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour})
	root := fs.Root()
	g := newGenerator(root, 4)
	for round := range 4 {
		for range 40 {
			g.step(t)
		}
		if n, e := root.Create(fmt.Sprint("open", round), &vfs.NewNode{Mode: abi.S_IFREG | 0o644}); e == 0 {
			n.Write(0, 9000, &copySource{make([]byte, 9000)})
			g.open = append(g.open, n)
			root.Unlink(fmt.Sprint("open", round))
		}
		if e := fs.Sync(); e != 0 {
			t.Fatal(e)
		}
	}
	img := bytes.Clone(dev.Content())
	g.close()
	root.Unref()
	fs.Unmount()
	return img
}

// hostileBases are the images that flips damage.
func hostileBases(t testing.TB) map[string]func() []byte {
	return map[string]func() []byte{
		"csum":    func() []byte { return hostileImage(t, "-O", "metadata_csum") },
		"nocsum":  func() []byte { return hostileImage(t, "-O", "^metadata_csum") },
		"groups":  func() []byte { return hostileImage(t, "-O", "metadata_csum", "-g", "1024") },
		"ext3":    func() []byte { return hostileImage(t, "-t", "ext3") },
		"journal": func() []byte { return dirtyImage(t, "-O", "metadata_csum") },
		"orphan":  func() []byte { return dirtyImage(t, "-O", "metadata_csum,orphan_file") },
	}
}

// TestHostileFlips changes fields of structures to values that were chosen with care.
func TestHostileFlips(t *testing.T) {
	rounds, seed := 150, uint64(1)
	switch {
	case os.Getenv("PINHOLE_LONG") != "":
		rounds, seed = 5000, uint64(time.Now().Unix())
	case testing.Short():
		rounds = 60
	}
	for name, make := range hostileBases(t) {
		t.Run(name, func(t *testing.T) {
			b := newHostileBase(t, make())
			kinds := map[string]int{}
			for i := range b.list {
				kinds[b.list[i].kind]++
			}
			t.Logf("seed %d; structures: %v", seed, kinds)
			if err := b.use(bytes.Clone(b.img), nil, 1); err != nil {
				t.Fatalf("the sound image: %v", err)
			}
			bad := 0
			for round := range uint64(rounds) {
				rnd := rand.New(rand.NewPCG(seed+round, 7))
				img := bytes.Clone(b.img)
				var flips []flip
				for range 1 + rnd.IntN(4)/3 {
					f := b.choose(rnd)
					f.apply(img)
					flips = append(flips, f)
				}
				if err := b.use(img, flips, seed+round); err != nil {
					t.Errorf("seed %d, %v: %v", seed+round, flips, err)
					if bad++; bad == 10 {
						t.Fatal("and so on")
					}
				}
			}
		})
	}
}

// FuzzFlip has the fuzzer choose: each eight bytes of data are a structure, a field, a width and a
// value.
func FuzzFlip(f *testing.F) {
	var bases []*hostileBase
	for _, name := range []string{"csum", "nocsum", "ext3", "journal", "orphan"} {
		bases = append(bases, newHostileBase(f, hostileBases(f)[name]()))
	}
	for i := range bases {
		if err := bases[i].use(bytes.Clone(bases[i].img), nil, 1); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(uint8(0), []byte{0, 0, 8, 4, 0xff, 0xff, 0xff, 0xff})
	f.Add(uint8(1), []byte{40, 0, 0x28, 2, 0, 0, 0, 0, 41, 0, 0x30, 4, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, base uint8, data []byte) {
		b := bases[int(base)%len(bases)]
		img := bytes.Clone(b.img)
		var flips []flip
		for ; len(data) >= 8 && len(flips) < 8; data = data[8:] {
			s := &b.list[int(le.Uint16(data))%len(b.list)]
			fl := flip{s: s, width: 1 << (data[3] % 3), value: uint64(le.Uint32(data[4:]))}
			fl.off = (int(data[2]) * 4 % s.n) &^ (fl.width - 1)
			fl.apply(img)
			flips = append(flips, fl)
		}
		if err := b.use(img, flips, 1); err != nil {
			t.Errorf("%v: %v", flips, err)
		}
	})
}
