package resize_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/blockdev/filedev"
	"pinhole/fs/ext4"
	"pinhole/fs/ext4/check"
	"pinhole/fs/ext4/mkfs"
	"pinhole/fs/ext4/resize"
	"pinhole/fs/vfs"
)

// tool finds a program of e2fsprogs.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/sbin/", "/usr/sbin/"} {
		if p, err := exec.LookPath(dir + name); err == nil {
			return p
		}
	}
	t.Skipf("needs %s of e2fsprogs", name)
	return ""
}

// fsck lets e2fsck and our own check look at an image; neither may find anything.
func fsck(t testing.TB, path string) {
	t.Helper()
	out, err := exec.Command(tool(t, "e2fsck"), "-fn", path).CombinedOutput()
	if err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "Pass ") && !strings.HasPrefix(line, "e2fsck ") && !strings.Contains(line, " files (") {
			t.Fatalf("e2fsck: %s", out)
		}
	}
	f, dev := open(t, path)
	defer f.Close()
	r, err := check.Run(dev, check.Options{})
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, path string) (*os.File, *filedev.Device) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := filedev.New(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, dev
}

// mounted calls do with an image mounted.
func mounted(t testing.TB, path string, readOnly bool, do func(ns *vfs.Namespace)) {
	t.Helper()
	f, dev := open(t, path)
	defer f.Close()
	fs, err := ext4.Mount(dev, ext4.Options{ReadOnly: readOnly, NoAtime: true, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	ns := vfs.NewNamespace(fs)
	do(ns)
	if e := ns.Close(); e != 0 {
		t.Fatal(e)
	}
}

var root vfs.Context

// contents describes all files of an image, by path.
func contents(t testing.TB, path string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	first := make(map[uint64]string)
	mounted(t, path, true, func(ns *vfs.Namespace) {
		var walk func(p string)
		walk = func(p string) {
			d, e := ns.Walk(&root, nil, p, abi.AT_SYMLINK_NOFOLLOW)
			if e != 0 {
				t.Fatalf("%s: %v", p, e)
			}
			defer d.Unref()
			var a vfs.Attr
			if e := d.Attr(&a); e != 0 {
				t.Fatalf("%s: %v", p, e)
			}
			desc := fmt.Sprintf("%o %d:%d %d %v", a.Mode, a.UID, a.GID, a.Nlink, a.Mtime)
			if x, ok := d.Node().(vfs.XattrNode); ok {
				names, _ := x.Listxattr()
				for _, n := range names {
					v, e := x.Getxattr(n)
					desc += fmt.Sprintf(" %s=%08x %d", n, crc32.ChecksumIEEE(v), e)
				}
			}
			switch a.Mode & abi.S_IFMT {
			case abi.S_IFREG:
				h := sha256.New()
				buf := make([]byte, 1<<20)
				for off := int64(0); off < a.Size; {
					m := vfs.Memory(buf)
					n, e := d.Node().Read(off, len(buf), &m)
					if e != 0 || n == 0 {
						t.Fatalf("%s at %d: %v", p, off, e)
					}
					h.Write(buf[:n])
					off += int64(n)
				}
				desc += fmt.Sprintf(" %d %x", a.Size, h.Sum(nil)[:8])
			case abi.S_IFLNK:
				to, e := d.Node().Readlink()
				desc += fmt.Sprint(" -> ", to, e)
			case abi.S_IFDIR:
				var names []string
				if e := ns.ReadDir(d, 0, func(entry *vfs.DirEntry) bool {
					if entry.Name != "." && entry.Name != ".." {
						names = append(names, strings.Clone(entry.Name))
					}
					return true
				}); e != 0 {
					t.Fatalf("%s: %v", p, e)
				}
				for _, n := range names {
					walk(strings.TrimSuffix(p, "/") + "/" + n)
				}
			}
			if to, ok := first[a.Ino]; ok {
				desc += " same as " + to
			} else if a.Mode&abi.S_IFMT != abi.S_IFDIR && a.Nlink > 1 {
				first[a.Ino] = "other"
			}
			all[p] = desc
		}
		walk("/")
	})
	return all
}

// fill writes random files to an image until about part of it is in use, with holes between them.
func fill(t testing.TB, path string, rnd *rand.Rand, part float64) {
	t.Helper()
	mounted(t, path, false, func(ns *vfs.Namespace) {
		must := func(what string, e abi.Errno) {
			if e != 0 {
				t.Fatalf("%s: %v", what, e)
			}
		}
		var dirs []string
		for i := range 30 {
			dir := fmt.Sprintf("/dir%d", i)
			if i > 10 {
				dir = fmt.Sprintf("%s/sub%d", dirs[rnd.IntN(len(dirs))], i)
			}
			must(dir, ns.Mkdir(&root, nil, dir, 0o755))
			dirs = append(dirs, dir)
		}
		buf := make([]byte, 1<<20)
		for i := range buf {
			buf[i] = byte(rnd.Uint32())
		}
		write := func(p string, n, off int64) abi.Errno {
			d, _, e := ns.Open(&root, nil, p, abi.O_CREAT|abi.O_WRONLY, 0o644)
			if e != 0 {
				return e
			}
			defer d.Unref()
			for n > 0 {
				k := min(n, int64(len(buf)))
				m := vfs.Memory(buf[rnd.IntN(1000):])
				k = min(k, int64(len(m)))
				done, _, e := d.Node().Write(off, int(k), &m)
				if e != 0 {
					return e
				}
				n -= int64(done)
				off += int64(done)
			}
			return 0
		}
		var s vfs.StatFS
		var files []string
		for i := 0; ; i++ {
			must("statfs", ns.Root().FS().StatFS(&s))
			if float64(s.Bfree) < float64(s.Blocks)*(1-part) || s.Ffree < 20 {
				break
			}
			p := fmt.Sprintf("%s/file%d", dirs[rnd.IntN(len(dirs))], i)
			size := int64(rnd.IntN(20000))
			switch rnd.IntN(20) {
			case 0:
				size = int64(rnd.IntN(int(min(int64(s.Bfree)*s.Bsize/20+1, 4<<20))))
			case 1:
				size = 0
			}
			if e := write(p, size, 0); e == abi.ENOSPC {
				break
			} else {
				must(p, e)
			}
			files = append(files, p)
			switch rnd.IntN(12) {
			case 0: // a file in pieces
				for k := range rnd.IntN(40) {
					if e := write(p, 1000, int64(k)*10000); e != 0 && e != abi.ENOSPC {
						must(p, e)
					}
				}
			case 1:
				must(p, ns.Link(&root, nil, p, nil, p+"-link", 0))
			case 2:
				must(p, ns.Symlink(&root, strings.Repeat("to/", rnd.IntN(60)+1), nil, p+"-symlink"))
			case 3:
				d, e := ns.Walk(&root, nil, p, 0)
				must(p, e)
				if e := d.Node().(vfs.XattrNode).Setxattr("user.large", buf[:rnd.IntN(700)], 0); e != 0 && e != abi.ENOSPC {
					must(p, e)
				}
				d.Unref()
			case 4:
				must(p, ns.Mknod(&root, nil, p+"-fifo", abi.S_IFIFO|0o600, 0))
			}
			// Leave holes.
			for len(files) > 4 && rnd.IntN(3) == 0 {
				k := rnd.IntN(len(files))
				must(files[k], ns.Unlink(&root, nil, files[k]))
				files[k] = files[len(files)-1]
				files = files[:len(files)-1]
			}
		}
		// A directory with an index of its own.
		for i := range 200 {
			p := fmt.Sprintf("%s/a-rather-long-name-so-that-it-takes-several-blocks-%d", dirs[0], i)
			if e := ns.Mknod(&root, nil, p, abi.S_IFREG|0o600, 0); e == abi.ENOSPC {
				break
			} else {
				must(p, e)
			}
		}
	})
}

// resizeTo changes the size of an image file as the command does.
func resizeTo(t testing.TB, path string, blocks uint64, bs int64) (resize.Size, error) {
	t.Helper()
	f, dev := open(t, path)
	defer f.Close()
	before, err := resize.SizeOf(dev)
	if err != nil {
		return before, err
	}
	size := int64(blocks) * bs
	if err := f.Truncate(max(before.Bytes(), size)); err != nil {
		t.Fatal(err)
	}
	if dev, err = filedev.New(f); err != nil {
		t.Fatal(err)
	}
	got, err := resize.Resize(dev, blocks, resize.Options{Zeroed: true})
	if err != nil {
		return got, err
	}
	if got.Blocks > blocks || got.Bytes() > size {
		t.Fatalf("has %d blocks, asked for %d", got.Blocks, blocks)
	}
	return got, f.Truncate(size)
}

// kinds are file systems of every shape.
var kinds = []struct {
	name  string
	bs    int64
	start int64    // bytes
	args  []string // of mke2fs; nil: our own
	read  bool     // ours only reads it
}{
	{"own", 4096, 64 << 20, nil, false},
	{"own 1k", 1024, 24 << 20, nil, false},
	{"default", 4096, 64 << 20, []string{}, false},
	{"small groups", 1024, 24 << 20, []string{"-b", "1024", "-g", "1024", "-N", "3000"}, false},
	{"small groups, none reserved", 1024, 24 << 20, []string{"-b", "1024", "-g", "1024", "-N", "3000", "-O", "^resize_inode"}, false},
	{"meta_bg", 1024, 24 << 20, []string{"-b", "1024", "-g", "1024", "-N", "3000", "-O", "^resize_inode,meta_bg"}, false},
	{"no flex_bg", 1024, 24 << 20, []string{"-b", "1024", "-g", "1024", "-N", "3000", "-O", "^flex_bg"}, false},
	{"32 bit", 1024, 24 << 20, []string{"-b", "1024", "-g", "1024", "-N", "3000", "-O", "^64bit"}, false},
	{"uninit_bg", 1024, 24 << 20, []string{"-b", "1024", "-g", "1024", "-N", "3000", "-O", "^metadata_csum,uninit_bg"}, false},
	{"no checksums", 1024, 24 << 20, []string{"-b", "1024", "-g", "1024", "-N", "3000", "-O", "^metadata_csum,^uninit_bg"}, false},
	{"inodes of 128", 1024, 24 << 20, []string{"-b", "1024", "-g", "1024", "-N", "3000", "-I", "128"}, false},
	{"no journal", 2048, 24 << 20, []string{"-b", "2048", "-g", "2048", "-N", "3000", "-O", "^has_journal"}, false},
	{"ext3", 1024, 24 << 20, []string{"-b", "1024", "-g", "1024", "-N", "3000", "-t", "ext3"}, true},
	{"ext2, all copies", 1024, 24 << 20, []string{"-b", "1024", "-g", "1024", "-N", "3000", "-t", "ext2", "-O", "^sparse_super,^resize_inode"}, true},
}

// make makes an image with files in it.
func makeImage(t testing.TB, kind int, rnd *rand.Rand, part float64) string {
	t.Helper()
	k := kinds[kind]
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(k.start); err != nil {
		t.Fatal(err)
	}
	if k.args == nil {
		dev, err := filedev.New(f)
		if err == nil {
			err = mkfs.Format(dev, mkfs.Options{BlockSize: int(k.bs), Fresh: true})
		}
		if err != nil {
			t.Fatal(err)
		}
	} else {
		args := append([]string{"-q", "-F", "-E", "lazy_itable_init=1"}, k.args...)
		if !k.read {
			args = append(args, "-t", "ext4")
		}
		if k.read {
			// By way of a directory.
			dir := t.TempDir()
			for i := range 300 {
				os.MkdirAll(filepath.Join(dir, fmt.Sprint("d", i%17)), 0o755)
				os.WriteFile(filepath.Join(dir, fmt.Sprint("d", i%17), fmt.Sprint("file", i)), bytes.Repeat([]byte(fmt.Sprint(i, " ")), rnd.IntN(int(20000*part))), 0o644)
			}
			os.WriteFile(filepath.Join(dir, "d0/large"), bytes.Repeat([]byte("0123456789"), 400_000), 0o644)
			args = append(args, "-d", dir)
		}
		if out, err := exec.Command(tool(t, "mke2fs"), append(args, path)...).CombinedOutput(); err != nil {
			if strings.Contains(string(out), "nvalid filesystem option") {
				t.Skipf("%s", out)
			}
			t.Fatalf("mke2fs: %v\n%s", err, out)
		}
	}
	if !k.read {
		fill(t, path, rnd, part)
	}
	fsck(t, path)
	return path
}

// TestResize goes up and down at random; nothing of the files changes.
func TestResize(t *testing.T) {
	for kind, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			rounds, seed := 3, uint64(kind)
			if os.Getenv("PINHOLE_LONG") != "" {
				rounds, seed = 40, rand.Uint64()
			}
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 1))
			path := makeImage(t, kind, rnd, 0.2+0.6*rnd.Float64())
			want := contents(t, path)
			for round := range rounds {
				f, dev := open(t, path)
				before, err := resize.SizeOf(dev)
				if err != nil {
					t.Fatal(err)
				}
				least, err := resize.Minimum(dev)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
				to := least.Blocks
				if round%2 == 0 {
					to = before.Blocks + uint64(rnd.Int64N(2*k.start/k.bs))
				} else if rnd.IntN(2) == 0 {
					to += uint64(rnd.Int64N(int64(before.Blocks-least.Blocks) + 1))
				}
				got, err := resizeTo(t, path, to, k.bs)
				t.Logf("from %d to %d (%d; least %d): %v", before.Blocks, to, got.Blocks, least.Blocks, err)
				if errors.Is(err, resize.ErrNoRoom) && strings.Contains(err.Error(), "without flex_bg") {
					// What it left is not to be used.
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				fsck(t, path)
				if d := cmp.Diff(want, contents(t, path)); d != "" {
					t.Fatalf("content differs (-want +got):\n%s", d)
				}
			}
			if k.read {
				return
			}
			// It can be written, too.
			mounted(t, path, false, func(ns *vfs.Namespace) {
				d, _, e := ns.Open(&root, nil, "/after", abi.O_CREAT|abi.O_WRONLY, 0o644)
				if e != 0 {
					t.Fatal(e)
				}
				d.Unref()
			})
			fsck(t, path)
		})
	}
}

// TestMinimum: the least size works, and is not far from what is in use.
func TestMinimum(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, kind := range []int{0, 2, 3} {
		path := makeImage(t, kind, rnd, 0.4)
		want := contents(t, path)
		f, dev := open(t, path)
		least, err := resize.Minimum(dev)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resizeTo(t, path, least.Blocks, least.BlockSize); err != nil {
			t.Fatal(err)
		}
		fsck(t, path)
		if d := cmp.Diff(want, contents(t, path)); d != "" {
			t.Errorf("content differs:\n%s", d)
		}
		mounted(t, path, true, func(ns *vfs.Namespace) {
			var s vfs.StatFS
			d := ns.Root()
			d.FS().StatFS(&s)
			d.Unref()
			t.Logf("%s: %d blocks, %d free", kinds[kind].name, s.Blocks, s.Bfree)
			if s.Bfree > s.Blocks/8+64 {
				t.Errorf("%d of %d blocks are free in the least size", s.Bfree, s.Blocks)
			}
		})
		if _, err := resizeTo(t, path, 200, least.BlockSize); !errors.Is(err, resize.ErrNoRoom) {
			t.Errorf("far too small: %v", err)
		}
	}
}

// TestHost: the host's kernel reads the same after growing and shrinking.
func TestHost(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting by loop device needs root")
	}
	rnd := rand.New(rand.NewPCG(7, 8))
	for _, kind := range []int{0, 2, 4, 5} {
		path := makeImage(t, kind, rnd, 0.5)
		sum := func() string {
			mnt := t.TempDir()
			if out, err := exec.Command("mount", "-o", "loop,ro", path, mnt).CombinedOutput(); err != nil {
				t.Skipf("mount: %v\n%s", err, out)
			}
			defer exec.Command("umount", mnt).Run()
			h := sha256.New()
			filepath.WalkDir(mnt, func(p string, d os.DirEntry, err error) error {
				if err != nil {
					t.Error(err)
					return nil
				}
				st, _ := d.Info()
				fmt.Fprintln(h, strings.TrimPrefix(p, mnt), st.Mode(), st.ModTime())
				if d.Type().IsRegular() {
					f, err := os.Open(p)
					if err != nil {
						t.Error(err)
						return nil
					}
					defer f.Close()
					if _, err := io.Copy(h, f); err != nil {
						t.Error(err)
					}
				}
				return nil
			})
			return fmt.Sprintf("%x", h.Sum(nil))
		}
		want := sum()
		for _, bytes := range []int64{300 << 20, 0} {
			blocks := uint64(bytes / kinds[kind].bs)
			if bytes == 0 {
				f, dev := open(t, path)
				least, err := resize.Minimum(dev)
				f.Close()
				if err != nil {
					t.Fatal(err)
				}
				blocks = least.Blocks
			}
			if _, err := resizeTo(t, path, blocks, kinds[kind].bs); err != nil {
				t.Fatal(err)
			}
			fsck(t, path)
			if got := sum(); got != want {
				t.Errorf("%s, %d blocks: the host reads something else", kinds[kind].name, blocks)
			}
		}
	}
}

// TestLarge grows an empty image as far as the descriptor table becomes long, and back.
func TestLarge(t *testing.T) {
	for _, args := range [][]string{nil, {}, {"-O", "^resize_inode"}, {"-O", "^resize_inode,meta_bg"}} {
		path := filepath.Join(t.TempDir(), "disk.img")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		f.Truncate(64 << 20)
		if args == nil {
			dev, _ := filedev.New(f)
			err = mkfs.Format(dev, mkfs.Options{Fresh: true})
		} else {
			err = exec.Command(tool(t, "mke2fs"), append(append([]string{"-q", "-F", "-t", "ext4", "-b", "4096", "-N", "64"}, args...), path)...).Run()
		}
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		want := contents(t, path)
		for _, size := range []uint64{9 << 30, 600 << 30, 64 << 20} {
			if args == nil && size > 100<<30 {
				continue // its inode tables are too long to look at
			}
			if _, err := resizeTo(t, path, size/4096, 4096); err != nil {
				t.Fatalf("%v to %d: %v", args, size, err)
			}
			fsck(t, path)
			if d := cmp.Diff(want, contents(t, path)); d != "" {
				t.Errorf("content differs:\n%s", d)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	path := makeImage(t, 0, rnd, 0.1)
	if f, dev := open(t, path); f != nil {
		if _, err := resize.Resize(dev, 1<<33, resize.Options{}); err == nil {
			t.Error("32 TiB")
		}
		if _, err := resize.Resize(dev, 1<<20, resize.Options{}); err == nil {
			t.Error("more than the device has")
		}
		f.Close()
	}
	for _, c := range []struct{ command, want string }{
		{"set_super_value state 0", "not cleanly unmounted"},
		{"set_super_value state 3", "damaged"},
		{"set_super_value last_orphan 12", "not cleanly"},
		{"feature bigalloc", "bigalloc"},
		{"feature inline_data", "inline_data"},
		{"feature encrypt", "encrypt"},
		{"feature quota", "quota"},
		{"feature needs_recovery", "not cleanly"},
		{"set_super_value blocks_per_group 12345", "blocks per group"},
		{"set_bg 0 inode_table 99999999", "group 0"},
	} {
		copied := filepath.Join(t.TempDir(), "copy.img")
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, p, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(tool(t, "debugfs"), "-w", "-R", c.command, copied).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if _, err := resizeTo(t, copied, 30000, 4096); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.command, err)
		}
	}
}

// TestUUID: a new UUID leaves all checksums right.
func TestUUID(t *testing.T) {
	for _, kind := range []int{0, 2, 8, 9} {
		path := makeImage(t, kind, rand.New(rand.NewPCG(2, 2)), 0.1)
		want := contents(t, path)
		f, dev := open(t, path)
		u := [16]byte{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}
		if err := resize.SetUUID(dev, u); err != nil {
			t.Fatal(err)
		}
		f.Close()
		fsck(t, path)
		if d := cmp.Diff(want, contents(t, path)); d != "" {
			t.Errorf("content differs:\n%s", d)
		}
		out, err := exec.Command(tool(t, "dumpe2fs"), "-h", path).Output()
		if err != nil || !strings.Contains(string(out), "01020304-0506-4708-890a-0b0c0d0e0f10") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
