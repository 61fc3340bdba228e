package ext4

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
	"pinhole/tests/harness"
)

// tool runs a program of e2fsprogs and returns its output.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(harness.Tool(t, name, "e2fsprogs"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// mkfs makes an image with mkfs.ext4 and returns its content. An option of the form
// "-d DIR" fills it.
func mkfs(t testing.TB, size string, opts ...string) []byte {
	t.Helper()
	img := filepath.Join(t.TempDir(), "image")
	tool(t, "mkfs.ext4", append(append([]string{"-q", "-F", "-E", "nodiscard"}, opts...), img, size)...)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fsck writes the image to a file and has e2fsck look at it, after a replay of its journal if
// it needs one; anything but silence fails the test. It returns the file's path.
func fsck(t testing.TB, img []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	writeSparse(t, path, img)
	if le.Uint32(img[disk.SuperblockOffset+0x60:])&disk.IncompatRecover != 0 {
		if out, err := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-y", "-E", "journal_only", path).CombinedOutput(); err != nil {
			t.Errorf("e2fsck cannot replay the journal: %v\n%s", err, out)
			return path
		}
	}
	out, err := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-fn", path).CombinedOutput()
	if err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
		return path
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		switch {
		case strings.HasPrefix(line, "e2fsck "), strings.HasPrefix(line, "Pass "), strings.Contains(line, " files ("):
		default:
			t.Errorf("e2fsck is not silent:\n%s", out)
			return path
		}
	}
	return path
}

// eachPage calls f for the parts of img that are not zero.
func eachPage(img []byte, f func(off int, p []byte)) {
	for off := 0; off < len(img); off += 4096 {
		p := img[off:min(off+4096, len(img))]
		if !allZero(p) {
			f(off, p)
		}
	}
}

// writeSparse writes an image to a file, with holes for zeros.
func writeSparse(t testing.TB, path string, img []byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(img))); err != nil {
		t.Fatal(err)
	}
	eachPage(img, func(off int, p []byte) {
		if _, err := f.WriteAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
	})
}

// cloneSparse copies an image without touching the memory of its zeros.
func cloneSparse(img []byte) []byte {
	out := make([]byte, len(img))
	eachPage(img, func(off int, p []byte) { copy(out[off:], p) })
	return out
}

// mount mounts an image in memory; mapped says whether the device shows its content.
func mount(t testing.TB, img []byte, mapped bool, opts Options) (*FS, *faultdev.Device) {
	t.Helper()
	d := faultdev.New(img)
	var dev blockdev.Device = d
	if mapped {
		dev = faultdev.Mapped{Device: d}
	}
	if opts.Log == nil {
		opts.Log = t.Logf
	}
	fs, err := Mount(dev, opts)
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	return fs, d
}

// sink is a Dest that keeps everything.
type sink struct{ bytes.Buffer }

func (s *sink) Put(p []byte) (int, abi.Errno) {
	s.Write(p)
	return len(p), 0
}

// readAll reads a whole file.
func readAll(t testing.TB, n vfs.Node) []byte {
	t.Helper()
	var s sink
	for off := int64(0); ; {
		k, e := n.Read(off, 1<<20, &s)
		if e != 0 {
			t.Fatalf("read inode %d at %d: %v", n.Ino(), off, e)
		}
		if k == 0 {
			return s.Bytes()
		}
		off += int64(k)
	}
}

// names lists a directory, calling ReadDir anew after every few entries.
func names(t testing.TB, n vfs.Node, few int) []string {
	t.Helper()
	var out []string
	cookie := int64(0)
	for {
		k := 0
		e := n.ReadDir(cookie, func(d *vfs.DirEntry) bool {
			if k == few {
				return false
			}
			k++
			out = append(out, strings.Clone(d.Name))
			cookie = d.Cookie
			return true
		})
		if e != 0 {
			t.Fatalf("readdir of inode %d: %v", n.Ino(), e)
		}
		if k < few {
			return out
		}
	}
}

// tree describes everything below n, a line for each name.
func tree(t testing.TB, n vfs.Node) map[string]string {
	t.Helper()
	out := make(map[string]string)
	var walk func(dir vfs.Node, path string)
	walk = func(dir vfs.Node, path string) {
		for _, name := range names(t, dir, 50) {
			if name == "." || name == ".." {
				continue
			}
			c, e := dir.Lookup(name)
			if e != 0 {
				t.Fatalf("lookup %s/%s: %v", path, name, e)
			}
			out[path+"/"+name] = describe(t, c)
			if isType(c.Mode(), abi.S_IFDIR) {
				walk(c, path+"/"+name)
			}
			c.Unref()
		}
	}
	walk(n, "")
	return out
}

// describe puts what matters of a node into one line.
func describe(t testing.TB, n vfs.Node) string {
	t.Helper()
	var a vfs.Attr
	if e := n.Attr(&a); e != 0 {
		t.Fatalf("attr of inode %d: %v", n.Ino(), e)
	}
	s := fmt.Sprintf("%06o %d:%d links=%d mtime=%d.%09d", a.Mode, a.UID, a.GID, a.Nlink, a.Mtime.Sec, a.Mtime.Nsec)
	switch a.Mode & abi.S_IFMT {
	case abi.S_IFREG:
		s += fmt.Sprintf(" size=%d sum=%x", a.Size, sum(readAll(t, n)))
	case abi.S_IFLNK:
		target, e := n.Readlink()
		if e != 0 {
			t.Fatalf("readlink of inode %d: %v", n.Ino(), e)
		}
		s += " -> " + target
	case abi.S_IFCHR, abi.S_IFBLK:
		s += fmt.Sprintf(" rdev=%#x", a.Rdev)
	}
	return s
}

func sum(p []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range p {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}
