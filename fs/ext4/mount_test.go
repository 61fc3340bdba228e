package ext4

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// changeSuper changes the superblock of an image, with its checksum.
func changeSuper(img []byte, f func(sb *disk.Superblock)) {
	var sb disk.Superblock
	if err := sb.Decode(img[1024:2048]); err != nil {
		panic(err)
	}
	f(&sb)
	sb.Encode(img[1024:2048])
}

func TestRefusedImages(t *testing.T) {
	base := mkfs(t, "8M", "-b", "1024")
	for _, tt := range []struct {
		name   string
		change func(img []byte) []byte
		says   string
	}{
		{"empty", func([]byte) []byte { return nil }, "too small"},
		{"zeros", func(img []byte) []byte { return make([]byte, len(img)) }, "not an ext4 image"},
		{"truncated", func(img []byte) []byte { return img[:len(img)/2] }, "truncated"},
		{"checksum", func(img []byte) []byte { img[1024]++; return img }, "checksum"},
		{"group checksum", func(img []byte) []byte { img[2048+4]++; return img }, "group 0"},
		{"root", func(img []byte) []byte {
			changeSuper(img, func(sb *disk.Superblock) { sb.FeatureROCompat &^= disk.ROCompatMetadataCsum })
			var g disk.Group
			g.Decode(img[2048:][:64])
			clear(img[int(g.InodeTable)*1024+256:][:256])
			return img
		}, "root directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := tt.change(cloneSparse(base))
			_, err := Mount(faultdev.New(img), Options{ReadOnly: true})
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("mount says %v, want %q in it", err, tt.says)
			}
		})
	}
}

func TestFeatures(t *testing.T) {
	base := mkfs(t, "8M", "-b", "1024")
	const (
		refused = iota
		readOnly
		writable
	)
	for _, tt := range []struct {
		set  disk.FeatureSet
		mask uint32
		want int
	}{
		{disk.Incompat, disk.IncompatInlineData, refused}, {disk.Incompat, disk.IncompatEncrypt, refused},
		{disk.Incompat, disk.IncompatCasefold, refused}, {disk.Incompat, disk.IncompatEAInode, refused},
		{disk.Incompat, disk.IncompatMMP, refused}, {disk.Incompat, disk.IncompatDirData, refused},
		{disk.Incompat, disk.IncompatCompression, refused}, {disk.Incompat, disk.IncompatJournalDev, refused},
		{disk.Incompat, 1 << 30, refused}, {disk.ROCompat, disk.ROCompatBigalloc, refused},
		{disk.Incompat, disk.IncompatLargeDir, writable},
		{disk.ROCompat, disk.ROCompatVerity, readOnly}, {disk.ROCompat, disk.ROCompatQuota, readOnly},
		{disk.ROCompat, disk.ROCompatProject, readOnly}, {disk.ROCompat, disk.ROCompatReadonly, readOnly},
		{disk.ROCompat, disk.ROCompatSharedBlocks, readOnly}, {disk.ROCompat, 1 << 30, readOnly},
		{disk.Compat, disk.CompatStableInodes, writable}, {disk.Compat, 1 << 30, writable},
	} {
		name := disk.FeatureNames(tt.set, tt.mask)
		t.Run(name, func(t *testing.T) {
			img := cloneSparse(base)
			changeSuper(img, func(sb *disk.Superblock) {
				*[]*uint32{&sb.FeatureCompat, &sb.FeatureIncompat, &sb.FeatureROCompat}[tt.set] |= tt.mask
			})
			fs, err := Mount(faultdev.New(img), Options{})
			if tt.want == refused {
				var f *FeatureError
				if !errors.As(err, &f) || f.Names != name {
					t.Errorf("mount says %v, want that %s is not supported", err, name)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if fs.ReadOnly() != (tt.want == readOnly) {
				t.Errorf("read-only is %v", fs.ReadOnly())
			}
			root := fs.Root()
			if _, e := root.Create("x", &vfs.NewNode{Mode: abi.S_IFREG}); (e == abi.EROFS) != (tt.want == readOnly) {
				t.Errorf("create: %v", e)
			}
			root.Unref()
			fs.Unmount()
		})
	}
}

// TestStatFS compares statfs with the host's.
func TestStatFS(t *testing.T) {
	for _, kind := range []string{"1k", "4k", "nojournal", "meta_bg", "no_flex"} {
		t.Run(kind, func(t *testing.T) {
			img := mkfs(t, "200M", imageKinds[kind]...)
			path := filepath.Join(t.TempDir(), "image")
			writeSparse(t, path, img)
			var want syscall.Statfs_t
			if err := syscall.Statfs(loopMount(t, path, "ro"), &want); err != nil {
				t.Fatal(err)
			}
			fs, _ := mount(t, img, true, Options{ReadOnly: true})
			var got vfs.StatFS
			fs.StatFS(&got)
			if w, g := fmt.Sprint(want.Type, want.Bsize, want.Blocks, want.Bfree, want.Files, want.Ffree, want.Namelen),
				fmt.Sprint(got.Type, got.Bsize, got.Blocks, got.Bfree, got.Files, got.Ffree, got.Namelen); g != w {
				t.Errorf("statfs: %s, want %s", g, w)
			}
			fs.Unmount()
		})
	}
}

// TestCorruptionIsReported damages one structure at a time. What needs it gives EUCLEAN and
// the file system becomes read-only; the rest goes on.
func TestCorruptionIsReported(t *testing.T) {
	src := t.TempDir()
	os.WriteFile(filepath.Join(src, "file"), []byte("content"), 0o644)
	os.Mkdir(filepath.Join(src, "dir"), 0o755)
	os.WriteFile(filepath.Join(src, "other"), []byte("content"), 0o644)
	base := mkfs(t, "8M", "-b", "1024", "-d", src)
	find := func(img []byte, name string) (ino uint32, raw []byte) {
		fs, _ := mount(t, img, true, Options{ReadOnly: true})
		n, e := fs.Root().Lookup(name)
		if e != 0 {
			t.Fatal(e)
		}
		block, _ := fs.inodeHome(uint32(n.Ino()))
		off := int(block)*1024 + int((uint32(n.Ino())-1)%fs.inodesPerBlock)*fs.inodeSize
		return uint32(n.Ino()), img[off:][:fs.inodeSize]
	}
	for _, tt := range []struct {
		name   string
		change func(img []byte)
		use    func(fs *FS, root vfs.Node) abi.Errno
	}{
		{"inode checksum", func(img []byte) { _, raw := find(img, "file"); raw[0x7c]++ }, func(fs *FS, root vfs.Node) abi.Errno {
			_, e := root.Lookup("file")
			return e
		}},
		{"directory block", func(img []byte) {
			_, raw := find(img, "dir")
			var in disk.Inode
			in.Decode(raw)
			var x disk.Extent
			x.Decode(in.Block[disk.ExtentHeaderSize:])
			img[int(x.Start)*1024+4] = 3
		}, func(fs *FS, root vfs.Node) abi.Errno {
			d, e := root.Lookup("dir")
			if e != 0 {
				return e
			}
			defer d.Unref()
			return d.ReadDir(0, func(*vfs.DirEntry) bool { return true })
		}},
		{"block bitmap", func(img []byte) {
			var g disk.Group
			g.Decode(img[2048:][:64])
			img[int(g.BlockBitmap)*1024] ^= 0xff
		}, func(fs *FS, root vfs.Node) abi.Errno {
			n, e := root.Lookup("file")
			if e != 0 {
				return e
			}
			defer n.Unref()
			if _, _, e = n.Write(100000, 5000, &copySource{make([]byte, 5000)}); e != 0 {
				return e
			}
			return n.Sync(false) // blocks are looked for when they are written
		}},
		{"inode bitmap", func(img []byte) {
			var g disk.Group
			g.Decode(img[2048:][:64])
			img[int(g.InodeBitmap)*1024] ^= 0xff
		}, func(fs *FS, root vfs.Node) abi.Errno {
			_, e := root.Create("new", &vfs.NewNode{Mode: abi.S_IFREG})
			return e
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := cloneSparse(base)
			tt.change(img)
			said := 0
			fs, _ := mount(t, img, true, Options{Log: func(format string, args ...any) {
				said++
				t.Logf(format, args...)
			}})
			root := fs.Root()
			if e := tt.use(fs, root); e != abi.EUCLEAN {
				t.Errorf("using it: %v, want EUCLEAN", e)
			}
			if e := tt.use(fs, root); e != abi.EUCLEAN && e != abi.EROFS {
				t.Errorf("using it again: %v", e)
			}
			var sb disk.Superblock
			sb.Decode(img[1024:])
			where := fmt.Sprint(sb.FirstErrorIno != 0 || sb.FirstErrorBlock != 0 || strings.Contains(tt.name, "bitmap"), sb.FirstErrorLine != 0, sb.FirstErrorCode)
			if sb.ErrorCount == 0 || sb.State&disk.StateError == 0 || where != "true true 5" || sb.FirstErrorFunc[0] == 0 || sb.FirstErrorFunc != sb.LastErrorFunc {
				t.Errorf("superblock says %d errors, state %#x, first at %s, found by %s", sb.ErrorCount, sb.State, where, sb.FirstErrorFunc)
			}
			t.Logf("inode %d, block %d, by %s", sb.FirstErrorIno, sb.FirstErrorBlock, cString(sb.FirstErrorFunc[:]))
			if !fs.ReadOnly() || said == 0 || said > 4 {
				t.Errorf("read-only %v, %d lines logged", fs.ReadOnly(), said)
			}
			n, e := root.Lookup("other")
			if e != 0 || string(readAll(t, n)) != "content" {
				t.Errorf("another file: %v", e)
			}
			n.Unref()
			root.Unref()
			fs.Unmount()
		})
	}
}

func BenchmarkMount(b *testing.B) {
	for _, size := range []string{"64M", "1G"} {
		b.Run(size, func(b *testing.B) {
			img := mkfs(b, size)
			b.ReportAllocs()
			for b.Loop() {
				fs, err := Mount(faultdev.Mapped{Device: faultdev.New(img)}, Options{ReadOnly: true, CacheBytes: 1 << 20})
				if err != nil {
					b.Fatal(err)
				}
				fs.Unmount()
			}
		})
	}
}
