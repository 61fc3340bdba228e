package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/ext4/mkfs"
)

// memory is a device in memory.
type memory struct {
	p   []byte
	err error // that reads from block bad on return
	bad int64
}

func (d *memory) Size() int64 { return int64(len(d.p)) }

func (d *memory) ReadAt(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > int64(len(d.p)) {
		return fmt.Errorf("read of %d bytes at %d: beyond the end", len(p), off)
	}
	if d.err != nil && off+int64(len(p)) > d.bad {
		return d.err
	}
	copy(p, d.p[off:])
	return nil
}

func (d *memory) WriteV(v []blockdev.Vec) error {
	for _, w := range v {
		copy(d.p[w.Off:], w.Data)
	}
	return nil
}

func (d *memory) Flush() error { return nil }

// ownImage makes a file system without help of e2fsprogs.
func ownImage(t testing.TB, size int, bs int) *memory {
	t.Helper()
	d := &memory{p: make([]byte, size)}
	files := []mkfs.File{
		{Path: "/a/b/c/file", Content: slices.Repeat([]byte("content "), 5000)}, {Path: "/empty"},
		{Path: "/link", Mode: modeLnk | 0o777, Content: []byte("a/b")},
		{Path: "/longlink", Mode: modeLnk | 0o777, Content: slices.Repeat([]byte("x/"), 100)},
	}
	for i := range 200 {
		files = append(files, mkfs.File{Path: fmt.Sprintf("/many/%d-%s", i, strings.Repeat("n", i%50)), Content: []byte("x")})
	}
	if err := mkfs.Format(d, mkfs.Options{BlockSize: bs, Fresh: true, UUID: [16]byte{1}, Files: files}); err != nil {
		t.Fatal(err)
	}
	return d
}

// mendSuper makes the superblock's checksum right, so that the check goes on.
func mendSuper(p []byte) {
	if s := p[disk.SuperblockOffset:][:disk.SuperblockSize]; le.Uint32(s[0x64:])&disk.ROCompatMetadataCsum != 0 {
		le.PutUint32(s[0x3fc:], disk.SuperblockChecksum(s))
	}
}

// mendAll makes the checksums of the superblock, descriptors and inodes right.
func mendAll(p []byte) {
	mendSuper(p)
	var s disk.Superblock
	if s.Decode(p[disk.SuperblockOffset:]) != nil || s.LogBlockSize > 2 || s.DescSize != 64 || s.InodeSize != 256 || s.BlocksPerGroup == 0 || s.InodesPerGroup == 0 {
		return
	}
	bs := s.BlockSize()
	for g := range min(s.GroupCount(), 64) {
		at := (int(s.FirstDataBlock)+1)*bs + int(g)*64
		if at+64 > len(p) {
			return
		}
		s.SetGroupChecksum(uint32(g), p[at:][:64])
		var d disk.Group
		d.Decode(p[at:][:64])
		for i := range min(s.InodesPerGroup, 4096) {
			off := d.InodeTable*uint64(bs) + uint64(i)*256
			if off+256 > uint64(len(p)) || d.InodeTable > 1<<32 {
				break
			}
			raw := p[off:][:256]
			if !allZero(raw) {
				disk.SetInodeChecksum(disk.InodeSeed(s.Seed(), uint32(g)*s.InodesPerGroup+i+1, le.Uint32(raw[0x64:])), raw)
			}
		}
	}
}

// fuzzBases are the images that the fuzzer damages: two without help of e2fsprogs, and two with some of
// everything, the last with a journal that is to be replayed.
func fuzzBases(t testing.TB) (bases [][]byte, maps []*imageMap) {
	t.Helper()
	for _, d := range []*memory{ownImage(t, 4<<20, 1024), ownImage(t, 8<<20, 4096)} {
		bases, maps = append(bases, d.p), append(maps, nil)
	}
	for _, i := range []int{0, len(corpusImages) - 1} {
		im := corpusImages[i]
		m := openMap(t, corpusImage(t, im.name, im.size, im.opts, im.unclean))
		bases, maps = append(bases, m.raw), append(maps, m)
	}
	return bases, maps
}

const (
	fuzzBase   = 3 // bits of the input's first byte: the image
	fuzzMend   = 4 // all checksums are mended
	fuzzSuper  = 8 // the superblock's is
	longestRun = 255
)

// fuzzInput writes the patches of a damage as an input of FuzzCheck.
func fuzzInput(how byte, raw []byte, patches []patch) []byte {
	in := []byte{how}
	for _, x := range patches {
		old := raw[x.off:]
		for i := 0; i < len(x.data); {
			if x.data[i] == old[i] {
				i++
				continue
			}
			// Places are even.
			at := i - int(x.off+int64(i))&1
			if at < 0 {
				i++
				continue
			}
			end := at + 1
			for last := at; end < len(x.data) && end-at < longestRun && end-last < 8; end++ {
				if x.data[end] != old[end] {
					last = end
				}
			}
			off := (x.off + int64(at)) / 2
			in = append(append(in, byte(off), byte(off>>8), byte(off>>16), byte(end-at)), x.data[at:end]...)
			i = end
		}
	}
	return in
}

// FuzzCheck: no image makes the check panic, run for ever or take much memory. The input is a list
// of places and bytes to put there, and how to mend checksums.
func FuzzCheck(f *testing.F) {
	bases, maps := fuzzBases(f)
	for i := range byte(12) {
		f.Add([]byte{i})
		f.Add([]byte{i, 0x10, 4, 0, 4, 0xff, 0xff, 0xff, 0xff, 0x20, 8, 0, 2, 1, 1})
	}
	per := 60
	if testing.Short() {
		per = 20
	}
	for i, m := range maps {
		if m == nil {
			continue
		}
		r := rand.New(rand.NewPCG(uint64(i), 1))
		cases := m.cases(r)
		r.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
		for _, c := range spread(cases, per) {
			f.Add(fuzzInput(byte(i), m.raw, c.patches))
		}
	}
	work := make([][]byte, len(bases))
	for i := range work {
		work[i] = slices.Clone(bases[i])
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 || len(in) > 4096 {
			return
		}
		how, p := in[0], work[in[0]&fuzzBase]
		copy(p, bases[how&fuzzBase])
		for in = in[1:]; len(in) >= 4; {
			off := (int(in[0]) | int(in[1])<<8 | int(in[2])<<16) * 2 % len(p)
			n := min(int(in[3]), len(in)-4)
			copy(p[off:], in[4:][:n])
			in = in[4+n:]
		}
		switch {
		case how&fuzzMend != 0:
			mendAll(p)
		case how&fuzzSuper != 0:
			mendSuper(p)
		}
		for _, o := range []Options{{Paths: true}, {Replay: true}} {
			if r, err := Run(&memory{p: p}, o); err == nil && r.Errors > maxProblems+1 {
				t.Errorf("%d problems", r.Errors)
			}
		}
	})
}

// inodeBytes returns an inode of the first group of an image with inodes of 256 bytes; nil if it cannot be.
func inodeBytes(p []byte, ino int) []byte {
	var s disk.Superblock
	if s.Decode(p[disk.SuperblockOffset:]) != nil || s.LogBlockSize > 2 {
		return nil
	}
	at := int(le.Uint32(p[(int(s.FirstDataBlock)+1)*s.BlockSize()+8:]))*s.BlockSize() + (ino-1)*256
	if at < 0 || at+256 > len(p) {
		return nil
	}
	return p[at:][:256]
}

// TestHostile damages images in many places at once.
func TestHostile(t *testing.T) {
	rounds := 300
	if os.Getenv("PINHOLE_LONG") != "" {
		rounds = 5000
	}
	bases := [][]byte{ownImage(t, 4<<20, 1024).p, ownImage(t, 8<<20, 4096).p}
	if path := corpusImage(t, "", "24M", []string{"-b", "1024", "-O", "orphan_file", "-J", "size=1"}, false); path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bases = append(bases, raw)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range rounds {
		base := bases[i%len(bases)]
		p := slices.Clone(base)
		// Most of what matters is at the front.
		for range 1 + r.IntN(60) {
			off := r.IntN(len(p))
			if r.IntN(3) > 0 {
				off = r.IntN(len(p) / 8)
			}
			switch r.IntN(6) {
			case 0:
				p[off] = byte(r.Uint32())
			case 1:
				le.PutUint32(p[off&^3:], uint32(r.IntN(30000)))
			case 2:
				le.PutUint32(p[off&^3:], r.Uint32())
			case 3:
				// Of one place at another.
				n := 4 << r.IntN(9)
				from := r.IntN(len(p)) &^ (n - 1)
				copy(p[off&^(n-1):], p[from:min(from+n, len(p))])
			case 4, 5:
				// An inode in another's place.
				copy(inodeBytes(p, 1+r.IntN(300)), inodeBytes(p, 1+r.IntN(300)))
			}
		}
		copy(p[disk.SuperblockOffset:], base[disk.SuperblockOffset:][:64])
		mendAll(p)
		for _, o := range []Options{{Paths: true}, {Replay: true}} {
			if _, err := Run(&memory{p: p}, o); err != nil && !errors.Is(err, ErrUnsupported) {
				t.Errorf("round %d: %v", i, err)
			}
		}
	}
}

// sharedImage makes an image in which n inodes claim the same blocks as often as they can.
func sharedImage(t testing.TB, n int, mode uint16) *memory {
	d := &memory{p: make([]byte, 256<<20)}
	if err := mkfs.Format(d, mkfs.Options{Fresh: true, UUID: [16]byte{1}, Inodes: uint64(n) + 100}); err != nil {
		t.Fatal(err)
	}
	var s disk.Superblock
	if err := s.Decode(d.p[disk.SuperblockOffset:]); err != nil {
		t.Fatal(err)
	}
	bs := s.BlockSize()
	table := (int(s.FirstDataBlock) + 1) * bs
	for i := range uint32(n) {
		ino := 100 + i
		g := ino / s.InodesPerGroup
		at := table + int(g)*64
		var grp disk.Group
		grp.Decode(d.p[at:][:64])
		grp.Flags, grp.ItableUnused = 0, 0
		grp.Encode(d.p[at:][:64])
		raw := d.p[int(grp.InodeTable)*bs+int(ino%s.InodesPerGroup)*256:][:256]
		inode := disk.Inode{Mode: mode, Links: 1, Flags: disk.InodeExtents, ExtraIsize: 32, Size: 4 * 32768 * uint64(bs)}
		h := disk.ExtentHeader{Magic: disk.ExtentMagic, Entries: 4, Max: 4}
		h.Encode(inode.Block[:])
		for k := range 4 {
			e := disk.Extent{Block: uint32(k) * 32768, Len: 32768, Start: uint64(20000 + 5*k)}
			e.Encode(inode.Block[12+12*k:])
		}
		inode.Encode(raw)
	}
	mendAll(d.p)
	return d
}

// TestShared: thousands of files, or directories, that claim the same blocks are not each read.
func TestShared(t *testing.T) {
	for _, mode := range []uint16{modeReg, modeDir} {
		d := sharedImage(t, 3000, mode)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r, err := Run(d, Options{})
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		if r.Clean() {
			t.Error("nothing was found")
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 256<<20 {
			t.Errorf("%d MiB were allocated", grown>>20)
		}
		t.Logf("%d problems, incomplete %v, %d MiB allocated", r.Errors, r.Incomplete, (after.TotalAlloc-before.TotalAlloc)>>20)
	}
}

// TestErrors: errors of the device and the context end the check.
func TestErrors(t *testing.T) {
	d := ownImage(t, 8<<20, 4096)
	d.err = errors.New("broken")
	for d.bad = 0; d.bad < 600<<10; d.bad += 4096 {
		if _, err := Run(d, Options{}); !errors.Is(err, d.err) {
			t.Errorf("broken from %d on: %v", d.bad, err)
		}
	}
	d.err = nil
	cause := errors.New("enough")
	passes := make(map[int]bool)
	if _, err := Run(d, Options{Progress: func(p Progress) { passes[p.Pass] = true }}); err != nil {
		t.Error(err)
	}
	for pass := 1; pass <= 5; pass++ {
		if !passes[pass] {
			t.Errorf("no progress of pass %d", pass)
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		_, err := Run(d, Options{Context: ctx, Progress: func(p Progress) {
			if p.Pass == pass {
				cancel(cause)
			}
		}})
		if pass < 5 && !errors.Is(err, cause) {
			t.Errorf("cancelled in pass %d: %v", pass, err)
		}
		cancel(nil)
	}
}

// TestKeep: the report has so many problems, and counts the others.
func TestKeep(t *testing.T) {
	d := ownImage(t, 4<<20, 1024)
	var s disk.Superblock
	if err := s.Decode(d.p[disk.SuperblockOffset:]); err != nil {
		t.Fatal(err)
	}
	var g disk.Group
	g.Decode(d.p[2048:][:64])
	for i := range 40 {
		d.p[int(g.InodeTable)*1024+(20+i)*256+0x10]++ // mtime: the checksum is wrong
	}
	r, err := Run(d, Options{Keep: 5})
	if err != nil || len(r.Problems) != 5 || r.Errors != 40 || r.Clean() || r.Err() == nil {
		t.Errorf("%d problems of %d: %v", len(r.Problems), r.Errors, err)
	}
	if !strings.Contains(r.Err().Error(), "40 problems") {
		t.Error(r.Err())
	}
}

// TestReservedDirectory: the journal's inode says that it is a directory with a hash tree, and the root says
// that it is none.
func TestReservedDirectory(t *testing.T) {
	for _, root := range []bool{true, false} {
		d := ownImage(t, 4<<20, 1024)
		copy(inodeBytes(d.p, disk.JournalInode), inodeBytes(d.p, disk.RootInode))
		flags := inodeBytes(d.p, disk.JournalInode)[0x20:]
		le.PutUint32(flags, le.Uint32(flags)|disk.InodeIndex)
		if !root {
			le.PutUint16(inodeBytes(d.p, disk.RootInode), modeReg|0o755)
		}
		mendAll(d.p)
		r, err := Run(d, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.Err().Error(), string(JournalInode)) {
			t.Errorf("root %v: %v", root, r.Err())
		}
	}
}
