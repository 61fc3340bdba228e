package check

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/ext4/mkfs"
)

// vast is a device of any size that holds a few bytes at its start, and zeros.
type vast struct {
	size int64
	p    []byte
}

func (d *vast) Size() int64 { return d.size }

func (d *vast) ReadAt(p []byte, off int64) error {
	clear(p)
	if off < int64(len(d.p)) {
		copy(p, d.p[off:])
	}
	return nil
}

func (d *vast) WriteV([]blockdev.Vec) error { panic("a check does not write") }
func (d *vast) Flush() error                { return nil }

// allocated runs the check and returns how many bytes it allocated.
func allocated(t *testing.T, d blockdev.Device, o Options) (*Report, uint64) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := Run(d, o)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return r, after.TotalAlloc - before.TotalAlloc
}

// TestVast: a superblock that says it is of as many blocks as there can be, on a sparse device that has room
// for them, takes neither the memory nor the time of so many.
func TestVast(t *testing.T) {
	const groups, perGroup, bs = 1<<32 - 1, 32768, 4096
	d := &vast{size: groups * perGroup * bs, p: ownImage(t, 8<<20, bs).p[:bs]}
	raw := d.p[disk.SuperblockOffset:]
	var s disk.Superblock
	if err := s.Decode(raw); err != nil {
		t.Fatal(err)
	}
	s.BlocksCount, s.InodeSize, s.InodesPerGroup, s.InodesCount = groups*perGroup, bs, 1, groups
	s.FreeBlocksCount, s.FreeInodesCount, s.RBlocksCount, s.ReservedGDT = 0, 0, 0, 0
	for _, meta := range []bool{false, true} {
		if meta {
			s.FeatureCompat &^= disk.CompatResizeInode
			s.FeatureIncompat |= disk.IncompatMetaBG
		}
		s.Encode(raw)
		mendSuper(d.p)
		r, n := allocated(t, d, Options{})
		if !r.Incomplete || r.Clean() {
			t.Errorf("meta_bg %v: incomplete %v, %v", meta, r.Incomplete, r.Err())
		}
		if n > 256<<20 {
			t.Errorf("meta_bg %v: %d MiB allocated", meta, n>>20)
		}
		t.Logf("meta_bg %v: %d problems, %d MiB allocated, the last: %v", meta, r.Errors, n>>20, r.Problems[len(r.Problems)-1])
	}
}

// TestAgain: a file of the file system itself that has the same blocks again and again is refused, not read as
// often.
func TestAgain(t *testing.T) {
	d := ownImage(t, 8<<20, 1024)
	var s disk.Superblock
	if err := s.Decode(d.p[disk.SuperblockOffset:]); err != nil {
		t.Fatal(err)
	}
	for _, ino := range []uint32{s.OrphanFileInum, s.JournalInum} {
		if ino == 0 {
			t.Fatal("the image has no journal or orphan file")
		}
		p := append([]byte(nil), d.p...)
		raw := inodeBytes(p, int(ino))
		var n disk.Inode
		n.Decode(raw)
		var e disk.Extent
		e.Decode(n.Block[disk.ExtentHeaderSize:])
		h := disk.ExtentHeader{Magic: disk.ExtentMagic, Entries: 2, Max: 4}
		h.Encode(n.Block[:])
		again := e
		again.Block = uint32(e.Len)
		again.Encode(n.Block[disk.ExtentHeaderSize+disk.ExtentSize:])
		n.Size = 2 * uint64(e.Len) * 1024
		n.Encode(raw)
		mendAll(p)
		r, _ := allocated(t, &memory{p: p}, Options{Replay: true})
		if r.Clean() || !strings.Contains(r.Err().Error(), "a block more than once") {
			t.Errorf("inode %d: %v", ino, r.Err())
		}
	}
}

// TestDeep: the paths of problems far down are left out when nobody could open them.
func TestDeep(t *testing.T) {
	d := &memory{p: make([]byte, 16<<20)}
	deep := strings.Repeat("/"+strings.Repeat("d", 250), 600)
	short := strings.Repeat("/"+strings.Repeat("s", 250), 10)
	files := []mkfs.File{{Path: short + "/file"}, {Path: deep + "/file"}}
	if err := mkfs.Format(d, mkfs.Options{Fresh: true, UUID: [16]byte{1}, Inodes: 2000, Files: files}); err != nil {
		t.Fatal(err)
	}
	var s disk.Superblock
	if err := s.Decode(d.p[disk.SuperblockOffset:]); err != nil {
		t.Fatal(err)
	}
	for ino := s.FirstIno; ino < s.InodesPerGroup; ino++ {
		if raw := inodeBytes(d.p, int(ino)); raw != nil && le.Uint16(raw)&modeType == modeReg && ino != s.OrphanFileInum {
			le.PutUint32(raw[offFaddr:], 1)
		}
	}
	mendAll(d.p)
	r, n := allocated(t, d, Options{Paths: true})
	var paths []string
	for _, p := range r.Problems {
		if p.Code != InodeField {
			t.Error(p)
		}
		paths = append(paths, p.Path)
	}
	if len(paths) != 2 || paths[0] != short+"/file" && paths[1] != short+"/file" || paths[0] != "" && paths[1] != "" {
		t.Errorf("%d paths: %.80q", len(paths), paths)
	}
	if n > 64<<20 {
		t.Errorf("%d MiB allocated", n>>20)
	}
}

// TestCircle: a directory that has no name but in itself has no path, however many problems there are in it.
func TestCircle(t *testing.T) {
	d := &memory{p: make([]byte, 16<<20)}
	files := []mkfs.File{{Path: "/a/b/c/file"}}
	for i := range 990 {
		files = append(files, mkfs.File{Path: fmt.Sprintf("/a/b/%d", i)})
	}
	if err := mkfs.Format(d, mkfs.Options{Fresh: true, UUID: [16]byte{1}, Inodes: 2000, Files: files}); err != nil {
		t.Fatal(err)
	}
	m := &imageMap{raw: d.p}
	if err := m.sb.Decode(d.p[disk.SuperblockOffset:]); err != nil {
		t.Fatal(err)
	}
	m.bs, m.seed = m.sb.BlockSize(), m.sb.Seed()
	var g disk.Group
	g.Decode(d.p[(int(m.sb.FirstDataBlock)+1)*m.bs:][:64])
	m.groups = []disk.Group{g}
	// entry finds a name in a directory.
	entry := func(dir uint32, name string) []byte {
		data, _ := m.blocks(dir)
		for _, b := range data {
			p := m.block(b)
			for at := 0; at < len(p); {
				var e disk.Dirent
				e.Decode(p[at:])
				if e.Ino != 0 && string(p[at+8:][:e.NameLen]) == name {
					return p[at:]
				}
				at += e.RecLen
			}
		}
		t.Fatalf("no %s in directory %d", name, dir)
		return nil
	}
	a := m.lookup("a")
	b := le.Uint32(entry(a, "b"))
	le.PutUint32(entry(a, "b"), le.Uint32(entry(b, "0")))
	le.PutUint32(entry(b, "c"), b)
	for i := range 990 {
		le.PutUint32(d.p[m.inodeOff(le.Uint32(entry(b, fmt.Sprint(i)))):][offFaddr:], 1)
	}
	mendAll(d.p)
	r, n := allocated(t, d, Options{Paths: true})
	inside := 0
	for _, p := range r.Problems {
		if p.Code == InodeField && p.Path == "" {
			inside++
		}
	}
	// One of the files has a name outside of the circle.
	if inside < 900 {
		t.Errorf("%d problems, %d of files without a path", len(r.Problems), inside)
	}
	if n > 64<<20 {
		t.Errorf("%d MiB allocated", n>>20)
	}
}
