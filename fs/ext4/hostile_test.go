package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
	"pinhole/tests/harness"
)

// hostileImage makes a small image with every structure that a parser meets: deep extent
// trees, hash trees, attributes in inodes and blocks, links, holes, and a journal in use.
func hostileImage(t testing.TB, opts ...string) []byte {
	t.Helper()
	src := t.TempDir()
	os.Mkdir(filepath.Join(src, "many"), 0o755)
	for i := range 150 {
		os.WriteFile(filepath.Join(src, "many", fmt.Sprintf("a-file-with-a-long-name-%d", i)), []byte("x"), 0o644)
	}
	var large []byte
	for i := range 200 << 10 {
		large = append(large, byte(i>>4))
	}
	os.WriteFile(filepath.Join(src, "f7"), large, 0o644)
	os.WriteFile(filepath.Join(src, "f8"), large, 0o644)
	os.Symlink("many", filepath.Join(src, "short"))
	os.Symlink(strings.Repeat("many/../", 20), filepath.Join(src, "long"))
	os.MkdirAll(filepath.Join(src, "dir0/dir1/dir2"), 0o755)
	img := mkfs(t, "6M", append(opts, "-b", "1024", "-d", src, "-N", "400", "-J", "size=1")...)
	path := filepath.Join(t.TempDir(), "image")
	os.WriteFile(path, img, 0o600)
	if slices.Contains(opts, "ext3") {
		// What is there keeps its block numbers, new files get extents.
		tool(t, "tune2fs", "-O", "extent", path)
	}
	exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-fyD", path).Run()
	img, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fs, dev := mount(t, img, true, Options{})
	root := fs.Root()
	n := create(t, root, "scattered", abi.S_IFREG|0o644)
	for i := range 400 {
		n.Write(int64(i)*4000, 1, noise{rand.New(rand.NewPCG(1, 1))})
	}
	x := n.(vfs.XattrNode)
	x.Setxattr("user.small", []byte("value"), 0)
	x.Setxattr("user.large", bytes.Repeat([]byte("v"), 600), 0)
	n.Unref()
	g := newGenerator(root, 3)
	for range 200 {
		g.step(t)
	}
	g.close()
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	return dev.Content()
}

// repair makes the checksums that stand before all others right again, so that damage
// behind them is reached: superblock, group descriptors and inodes.
func repair(img []byte) {
	var sb disk.Superblock
	if sb.Decode(img[1024:2048]) != nil {
		return
	}
	if !sb.HasROCompat(disk.ROCompatMetadataCsum) {
		return
	}
	le.PutUint32(img[1024+0x3fc:], disk.SuperblockChecksum(img[1024:2048]))
	if sb.LogBlockSize > 2 || sb.InodesPerGroup == 0 || sb.BlocksPerGroup == 0 || sb.InodeSize < 128 {
		return
	}
	bs := uint64(sb.BlockSize())
	size := uint64(sb.DescriptorSize())
	if size < 64 {
		return
	}
	for g := range min(sb.GroupCount(), 64) {
		off := (uint64(sb.FirstDataBlock)+1)*bs + g*size
		if off+size > uint64(len(img)) {
			return
		}
		raw := img[off:][:size]
		var d disk.Group
		d.Decode(raw)
		at := func(block, n uint64) []byte {
			if block*bs+n > uint64(len(img)) || block*bs+n < n {
				return nil
			}
			return img[block*bs:][:n]
		}
		if bm := at(d.BlockBitmap, uint64(sb.BlocksPerGroup)/8); bm != nil && len(bm) <= int(bs) {
			d.BlockCsum = disk.BitmapChecksum(sb.Seed(), bm, len(bm))
		}
		if bm := at(d.InodeBitmap, uint64(sb.InodesPerGroup)/8); bm != nil && len(bm) <= int(bs) {
			d.InodeCsum = disk.BitmapChecksum(sb.Seed(), bm, len(bm))
		}
		d.Encode(raw)
		sb.SetGroupChecksum(uint32(g), raw)
		table := at(d.InodeTable, uint64(sb.InodesPerGroup)*uint64(sb.InodeSize))
		for i := 0; i+int(sb.InodeSize) <= len(table); i += int(sb.InodeSize) {
			p := table[i:][:sb.InodeSize]
			ino := uint32(g)*sb.InodesPerGroup + uint32(i/int(sb.InodeSize)) + 1
			if !allZero(p) && int(le.Uint16(p[0x80:])) <= int(sb.InodeSize)-128 {
				disk.SetInodeChecksum(disk.InodeSeed(sb.Seed(), ino, le.Uint32(p[0x64:])), p)
			}
		}
	}
}

// hotBytes returns the places of an image where a change matters: what is not zero, but
// the content of files only now and then.
func hotBytes(img []byte) []int {
	var hot []int
	for off := 1024; off < len(img); off += 256 {
		p := img[off : off+256]
		if !allZero(p) {
			for i := range p {
				hot = append(hot, off+i)
			}
		}
	}
	return hot
}

// useHostile mounts an image and does everything with it. Errors are fine; a panic, or
// taking long, is not.
func useHostile(t testing.TB, img []byte, seed uint64) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fs, err := Mount(faultdev.Mapped{Device: faultdev.New(img)}, Options{CacheBytes: 2 << 20})
		if err != nil {
			return
		}
		root := fs.Root()
		walkHostile(root, 0, new(int))
		g := newGenerator(root, seed)
		quiet := &quietT{}
		for range 60 {
			g.step(quiet)
		}
		walkHostile(root, 0, new(int))
		g.close()
		root.Unref()
		fs.Sync()
		fs.Unmount()
	}()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		panic("a hostile image keeps the file system busy for a minute")
	}
}

// quietT lets a generator's steps fail.
type quietT struct{ testing.TB }

func (*quietT) Helper()               {}
func (*quietT) Fatalf(string, ...any) {}

// walkHostile looks at everything below n, up to a limit, as directories may be in circles.
func walkHostile(n vfs.Node, depth int, count *int) {
	if *count++; *count > 3000 || depth > 12 {
		return
	}
	var a vfs.Attr
	n.Attr(&a)
	n.Readlink()
	if x, ok := n.(vfs.XattrNode); ok {
		list, _ := x.Listxattr()
		for _, name := range list {
			x.Getxattr(name)
		}
	}
	switch n.Mode() & abi.S_IFMT {
	case abi.S_IFREG:
		var off int64
		for range 50 {
			k, e := n.Read(off, 1<<16, discardDest{})
			if e != 0 || k == 0 {
				break
			}
			off += int64(k)
		}
		n.Read(a.Size-1, 4096, discardDest{})
		n.(vfs.HoleSeeker).SeekHole(0)
		n.(vfs.Mapper).MapExtents(0, 1<<20)
	case abi.S_IFDIR:
		var list []string
		cookie := int64(0)
		for range 50 {
			before := len(list)
			n.ReadDir(cookie, func(d *vfs.DirEntry) bool {
				if len(list)-before > 20 {
					return false
				}
				list = append(list, strings.Clone(d.Name))
				cookie = d.Cookie
				return true
			})
			if len(list) == before {
				break
			}
		}
		for _, name := range list {
			if name == "." || name == ".." {
				continue
			}
			if c, e := n.Lookup(name); e == 0 {
				walkHostile(c, depth+1, count)
				c.Unref()
			}
		}
	}
}

var hostileKinds = [][]string{
	{"-O", "^metadata_csum"},
	{"-O", "metadata_csum"},
	{"-t", "ext3"},
}

// TestHostileImages changes some bytes of an image at random, over and over.
func TestHostileImages(t *testing.T) {
	rounds := 400
	if v, err := strconv.Atoi(os.Getenv("PINHOLE_HOSTILE_ROUNDS")); err == nil {
		rounds = v
	}
	if testing.Short() {
		rounds = 60
	}
	for k, opts := range hostileKinds {
		t.Run(fmt.Sprint(opts), func(t *testing.T) {
			base := hostileImage(t, opts...)
			hot := hotBytes(base)
			for seed := range uint64(rounds) {
				rnd := rand.New(rand.NewPCG(seed, uint64(k)))
				img := bytes.Clone(base)
				for range 1 + rnd.IntN(8) {
					damage(rnd, img, hot)
				}
				repair(img)
				useHostile(t, img, seed)
			}
		})
	}
}

// damage changes a few bytes at one of the hot places.
func damage(rnd *rand.Rand, img []byte, hot []int) {
	at := hot[rnd.IntN(len(hot))]
	switch rnd.IntN(5) {
	case 0:
		img[at] = byte(rnd.Uint32())
	case 1:
		img[at] ^= 1 << rnd.IntN(8)
	case 2:
		at &^= 3
		le.PutUint32(img[at:], []uint32{0, 1, ^uint32(0), 1 << 31, rnd.Uint32(), rnd.Uint32N(6000), rnd.Uint32N(400)}[rnd.IntN(7)])
	case 3:
		at &^= 1
		le.PutUint16(img[at:], uint16(rnd.Uint32N(1<<(1+rnd.IntN(16)))))
	case 4:
		// Something that belongs elsewhere.
		from := hot[rnd.IntN(len(hot))] &^ 255
		copy(img[at&^255:][:256], img[from:from+256])
	}
}

// FuzzImage has the fuzzer choose the bytes: each group of five of data is an offset among
// the image's interesting places and a value.
func FuzzImage(f *testing.F) {
	var bases [][]byte
	var hots [][]int
	for _, opts := range hostileKinds {
		base := hostileImage(f, opts...)
		bases, hots = append(bases, base), append(hots, hotBytes(base))
	}
	f.Add(uint8(0), []byte{0, 0, 1, 0, 0xff})
	f.Add(uint8(1), []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		k := int(kind) % len(bases)
		img := bytes.Clone(bases[k])
		for ; len(data) >= 5; data = data[5:] {
			img[hots[k][int(le.Uint32(data))%len(hots[k])]] = data[4]
		}
		repair(img)
		useHostile(t, img, 1)
	})
}

// TestContentAfterDamage: once damage was found, content is not written any more, neither over what is there
// nor to new places, and whoever syncs is told.
func TestContentAfterDamage(t *testing.T) {
	for _, opts := range [][]string{nil, {"-O", "^has_journal"}} {
		fs, dev := mount(t, mkfs(t, "16M", opts...), true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour})
		root := fs.Root()
		n := create(t, root, "file", abi.S_IFREG|0o644).(*inode)
		write := func(off int64) {
			if k, _, e := n.Write(off, 8192, &copySource{make([]byte, 8192)}); e != 0 || k != 8192 {
				t.Fatal(k, e)
			}
		}
		write(0)
		if e := fs.Sync(); e != 0 {
			t.Fatal(e)
		}
		write(0)
		write(1 << 20)
		fs.corruptInode(n.ino, "a test")
		dev.RecordFrom()
		if e := n.Sync(false); e == 0 {
			t.Error("fsync says that all is well")
		}
		if e := fs.Sync(); e == 0 {
			t.Error("sync says that all is well")
		}
		for _, e := range dev.Events() {
			if e.Op == faultdev.Write {
				t.Errorf("%v: %v", opts, e)
			}
		}
		n.Unref()
		root.Unref()
		fs.Unmount()
	}
}
