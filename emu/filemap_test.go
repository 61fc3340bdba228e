package emu

import (
	"bytes"
	"testing"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// imageNode is a file whose content lies on the image, in pieces that the test chooses.
type imageNode struct {
	vfs.Node // nil: the rest is not asked for
	m        *memMachine
	size     int64
	exts     []vfs.Extent
	refs     int
	onMap    func() // called while the extents are found
}

func (n *imageNode) Ref()         { n.refs++ }
func (n *imageNode) Unref()       { n.refs-- }
func (n *imageNode) Ino() uint64  { return 77 }
func (n *imageNode) Mode() uint32 { return abi.S_IFREG | 0o644 }

func (n *imageNode) Attr(a *vfs.Attr) abi.Errno {
	*a = vfs.Attr{Ino: 77, Mode: n.Mode(), Size: n.size}
	return 0
}

func (n *imageNode) MapExtents(off, count int64) ([]vfs.Extent, abi.Errno) {
	exts := n.exts
	if n.onMap != nil {
		n.onMap()
	}
	return exts, 0
}

// imageByte is what memMachine's image holds at off.
func imageByte(off int64) byte { return byte(off>>12) ^ byte(off) }

// mapNode maps n pages of the node from page off.
func (w *memWorld) mapNode(node *imageNode, n uint64, prot uint8, off int64) abi.Addr {
	w.Helper()
	f := w.proc.mem().newMappedFile(w.kernel.ns.NewAnonymous(node, "file", 1), false)
	a, errno := w.proc.mem().mmapFile(w.Task, 0, n*pageSize, prot, abi.MAP_PRIVATE, f, off*pageSize)
	if errno != 0 {
		w.Fatal(errno)
	}
	return a
}

func TestMapImage(t *testing.T) {
	w := newMemWorld(t)
	// Page 0 is at 5, pages 1 and 2 at 9, page 3 is a hole, page 4 at 7; the file ends in it.
	node := &imageNode{m: w.machine, size: 4*pageSize + 100, exts: []vfs.Extent{
		{Off: 0, Home: 5 * pageSize, Len: pageSize}, {Off: pageSize, Home: 9 * pageSize, Len: 2 * pageSize},
		{Off: 3 * pageSize, Home: -1, Len: pageSize}, {Off: 4 * pageSize, Home: 7 * pageSize, Len: pageSize},
	}}
	rw := uint8(abi.PROT_READ | abi.PROT_WRITE)
	a := w.mapNode(node, 7, rw, 0)
	check := func(page int, home int64) {
		t.Helper()
		v, ok := peek(a + abi.Addr(page)*pageSize + 17)
		switch {
		case home < 0 && ok:
			t.Errorf("page %d can be read", page)
		case home == 0 && (!ok || v != 0):
			t.Errorf("page %d, a hole, reads %d %v", page, v, ok)
		case home > 0 && (!ok || v != imageByte(home*pageSize+17)):
			t.Errorf("page %d reads %d %v, want %d", page, v, ok, imageByte(home*pageSize+17))
		}
	}
	for page, home := range []int64{5, 9, 10, 0, 7, -1, -1} {
		check(page, home)
	}
	// Stores are the mapping's own, through changes of protection; discard shows the file again.
	poke(a+pageSize+17, 99)
	w.ok(w.memProtect(a, 5*pageSize, abi.PROT_READ))
	w.ok(w.memProtect(a, 5*pageSize, uint32(rw)))
	if v, _ := peek(a + pageSize + 17); v != 99 {
		t.Errorf("the store became %d", v)
	}
	check(2, 10)
	w.ok(w.memAdvise(a+3*pageSize, 2*pageSize, abi.MADV_DONTNEED))
	for page := range 5 {
		if w.proc.mem().supply(a+abi.Addr(page)*pageSize, false) == lost {
			t.Errorf("page %d cannot be had", page)
		}
	}
	check(4, 7)
	// The file grows: the next fault shows it.
	if w.proc.mem().supply(a+5*pageSize, false) != lost {
		t.Error("something is to be seen behind the end")
	}
	node.size = 6 * pageSize
	node.exts = append(node.exts, vfs.Extent{Off: 5 * pageSize, Home: 3 * pageSize, Len: pageSize})
	if w.proc.mem().supply(a+5*pageSize+123, false) == lost {
		t.Error("the file's new page is not to be had")
	}
	check(5, 3)
	check(6, -1)
	w.ok(w.memUnmap(a, 7*pageSize))
	if node.refs != 0 {
		t.Errorf("%d references are left", node.refs)
	}
	checkSet(t, &w.proc.mem().set)
}

func TestRevoke(t *testing.T) {
	w := newMemWorld(t)
	node := &imageNode{m: w.machine, size: 8 * pageSize, exts: []vfs.Extent{{Off: 0, Home: 4 * pageSize, Len: 8 * pageSize}}}
	a := w.mapNode(node, 8, abi.PROT_READ, 0)
	b := w.mapNode(node, 2, abi.PROT_READ, 5)
	w.kernel.Revoke(78, 0, 100*pageSize, vfs.RevokeFreed) // another file
	node.size = 6 * pageSize
	w.kernel.Revoke(77, 6*pageSize, 1, vfs.RevokeFreed)
	for i := range 8 {
		if _, ok := peek(a + abi.Addr(i)*pageSize); ok != (i != 6) {
			t.Errorf("page %d can be read: %v", i, ok)
		}
	}
	for i := range 2 {
		if _, ok := peek(b + abi.Addr(i)*pageSize); ok != (i != 1) {
			t.Errorf("second mapping: page %d can be read: %v", i, ok)
		}
	}
	// Blocks that go between finding them and mapping them: the mapping shows the new ones.
	node.size = 8 * pageSize
	node.onMap = func() {
		node.onMap = nil
		node.exts = []vfs.Extent{{Off: 0, Home: 20 * pageSize, Len: 8 * pageSize}}
		w.kernel.Revoke(77, 0, 8*pageSize, vfs.RevokeFreed)
	}
	c := w.mapNode(node, 1, abi.PROT_READ, 0)
	if v, ok := peek(c); !ok || v != imageByte(20*pageSize) {
		t.Errorf("reads %d %v: the blocks of another file", v, ok)
	}
}

// file makes a file with content, and returns its descriptor.
func (w *memWorld) file(path string, content []byte) int32 {
	fd := w.open(path, abi.O_CREAT|abi.O_RDWR)
	w.ok(w.fileWrite(fd, w.mem.bytes(string(content)), uint64(len(content))))
	return fd
}

func TestMapCopied(t *testing.T) {
	w := newMemWorld(t)
	content := bytes.Repeat([]byte("0123456789abcde\n"), 600)
	fd := w.file("/f", content)
	a := abi.Addr(w.ok(w.memMap(0, 4*pageSize, abi.PROT_READ, abi.MAP_PRIVATE, fd, pageSize)))
	got := make([]byte, len(content)-pageSize)
	if n := guest.CopyIn(got, a); n != len(got) || !bytes.Equal(got, content[pageSize:]) {
		t.Errorf("%d bytes, equal: %v", n, bytes.Equal(got, content[pageSize:]))
	}
	if v, ok := peek(a + abi.Addr(len(got))); !ok || v != 0 {
		t.Errorf("behind the end: %d %v", v, ok)
	}
	if _, ok := peek(a + 2*pageSize); ok {
		t.Error("a page behind the end can be read")
	}
	w.fails(abi.EACCES)(w.memMap(0, pageSize, 3, abi.MAP_SHARED, w.open("/f", abi.O_RDONLY), 0))
	w.fails(abi.EACCES)(w.memMap(0, pageSize, 1, abi.MAP_PRIVATE, w.open("/f", abi.O_WRONLY), 0))
	w.fails(abi.ENODEV)(w.memMap(0, pageSize, 1, abi.MAP_PRIVATE, w.open("/", abi.O_RDONLY), 0))
	w.ok(w.memUnmap(a, 4*pageSize))
	if w.kernel.ram.left != memRAM-1<<20 || w.kernel.commit.used.Load() != 0 {
		t.Error("memory is lost")
	}
}

func TestMapShared(t *testing.T) {
	w := newMemWorld(t)
	fd := w.file("/f", bytes.Repeat([]byte{'.'}, 3*pageSize-10))
	rw := uint32(abi.PROT_READ | abi.PROT_WRITE)
	a := abi.Addr(w.ok(w.memMap(0, 4*pageSize, rw, abi.MAP_SHARED, fd, 0)))
	b := abi.Addr(w.ok(w.memMap(0, pageSize, abi.PROT_READ, abi.MAP_SHARED, w.open("/f", abi.O_RDONLY), pageSize)))
	read := func(off int64) byte {
		t.Helper()
		p, at := w.mem.alloc(1)
		w.ok(w.filePread(fd, at, 1, off))
		return p[0]
	}
	write := func(off int64, v byte) {
		t.Helper()
		w.ok(w.filePwrite(fd, w.mem.bytes(string([]byte{v})), 1, off))
	}
	poke(a+pageSize+5, 'x')
	if v, _ := peek(b + 5); v != 'x' {
		t.Errorf("another mapping sees %q", v)
	}
	if v := read(pageSize + 5); v != 'x' {
		t.Errorf("read sees %q", v)
	}
	poke(a+pageSize+6, 'y')
	write(pageSize+7, 'z')
	for i, want := range []byte("xyz") {
		if v, _ := peek(b + 5 + abi.Addr(i)); v != want {
			t.Errorf("after a write, the mapping shows %q, want %q", v, want)
		}
		if v := read(pageSize + 5 + int64(i)); v != want {
			t.Errorf("after a write, the file has %q, want %q", v, want)
		}
	}
	// Shorter and longer again: what was there is gone.
	w.ok(w.fileTruncate(fd, pageSize+6))
	w.ok(w.fileTruncate(fd, 3*pageSize))
	for off, want := range map[int64]byte{5: 'x', 6: 0, pageSize: 0} {
		if v, _ := peek(b + abi.Addr(off)%pageSize); off < pageSize && v != want {
			t.Errorf("after truncation, the mapping shows %q at %d, want %q", v, off, want)
		}
		if v := read(pageSize + off); v != want {
			t.Errorf("after truncation, the file has %q at %d, want %q", v, off, want)
		}
	}
	// Behind the end there is nothing, until the file grows.
	if _, ok := peek(a + 3*pageSize); ok {
		t.Error("a page behind the end can be read")
	}
	write(3*pageSize, 'q')
	if w.proc.mem().supply(a+3*pageSize, false) == lost {
		t.Error("the new page is not to be had")
	}
	if v, _ := peek(a + 3*pageSize); v != 'q' {
		t.Errorf("the new page begins with %q", v)
	}
	poke(a, 'A')
	w.ok(w.memSync(a, 4*pageSize, abi.MS_SYNC))
	poke(a+1, 'B')
	w.ok(w.memUnmap(a, 4*pageSize))
	w.ok(w.memUnmap(b, pageSize))
	if v := read(0); v != 'A' {
		t.Errorf("msync wrote %q", v)
	}
	if v := read(1); v != 'B' {
		t.Errorf("munmap wrote %q", v)
	}
	if len(w.kernel.shares.files) != 0 || w.kernel.ram.left != memRAM-1<<20 || w.kernel.commit.used.Load() != 0 {
		t.Error("memory is lost")
	}
}

// TestMapSharedImage: pages of the image serve readers until somebody may write.
func TestMapSharedImage(t *testing.T) {
	w := newMemWorld(t)
	node := &imageNode{m: w.machine, size: 2 * pageSize, exts: []vfs.Extent{{Off: 0, Home: 4 * pageSize, Len: 2 * pageSize}}}
	f := w.proc.mem().newMappedFile(w.kernel.ns.NewAnonymous(node, "file", 1), true)
	a, errno := w.proc.mem().mmapFile(w.Task, 0, 2*pageSize, abi.PROT_READ, abi.MAP_SHARED, f, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if v := w.proc.mem().set.find(a); v.back != BackImage {
		t.Errorf("shown from %d", v.back)
	}
	// A write has moved the file's second page.
	node.exts = []vfs.Extent{{Off: 0, Home: 4 * pageSize, Len: pageSize}, {Off: pageSize, Home: 30 * pageSize, Len: pageSize}}
	w.kernel.afterWrite(node, 2*pageSize, 10)
	for i, home := range []int64{4, 30} {
		if v, ok := peek(a + abi.Addr(i)*pageSize + 3); !ok || v != imageByte(home*pageSize+3) {
			t.Errorf("page %d reads %d %v", i, v, ok)
		}
	}
	checkSet(t, &w.proc.mem().set)
	w.ok(w.memUnmap(a, 2*pageSize))
	if len(w.kernel.shares.files) != 0 {
		t.Error("the file is still shared")
	}
}
