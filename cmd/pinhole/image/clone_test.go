package image

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// small makes an image with some files.
func small(t testing.TB) string {
	src := filepath.Join(t.TempDir(), "src")
	fill(t, src)
	return create(t, createCmd{From: src, Size: 64 << 20})
}

func TestClone(t *testing.T) {
	image := small(t)
	if err := os.Chmod(image, 0o640); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(image)
	dest := filepath.Join(t.TempDir(), "clone.img")
	ok(t, &cloneCmd{Source: image, Dest: dest})
	if got, _ := os.ReadFile(dest); !bytes.Equal(got, want) {
		t.Error("the copy differs")
	}
	var from, to unix.Stat_t
	unix.Stat(image, &from)
	if err := unix.Stat(dest, &to); err != nil || to.Blocks > from.Blocks+64 || to.Mode != from.Mode {
		t.Errorf("%v: takes %d blocks of %d, mode %o", err, to.Blocks, from.Blocks, to.Mode)
	}
	fails(t, &cloneCmd{Source: image, Dest: dest}, "is there already", "--force")
	ok(t, &cloneCmd{Source: image, Dest: dest, Force: true, NewUUID: true})
	e2fsck(t, dest)
	if d := cmp.Diff(describe(t, image), describe(t, dest)); d != "" {
		t.Errorf("files differ: %s", d)
	}
	uuid := func(path string) string {
		for line := range strings.Lines(ok(t, &infoCmd{Image: path})) {
			if strings.HasPrefix(line, "uuid") {
				return line
			}
		}
		return ""
	}
	if uuid(image) == uuid(dest) || uuid(dest) == "" {
		t.Errorf("UUID %s", uuid(dest))
	}
	text := save(t, "text", bytes.Repeat([]byte("text"), 10000))
	fails(t, &cloneCmd{Source: text, Dest: dest + "2"}, text, "not an image")
	fails(t, &cloneCmd{Source: image + "x", Dest: dest + "2"}, "no such file")
	fails(t, &cloneCmd{Source: image, Dest: t.TempDir()}, "is a directory")
	fails(t, &cloneCmd{Source: image, Dest: "/nowhere/x"}, "cannot be made")
	if _, err := os.Stat(dest + "2"); err == nil {
		t.Error("a failed clone leaves a file")
	}
	f, err := openLocked(image, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fails(t, &cloneCmd{Source: image, Dest: dest + "3"}, image, "in use")
	fails(t, &cloneCmd{Source: dest, Dest: image, Force: true}, image, "in use")
}

// TestCopyHoles: without help of the host the copy is the same, and its holes are holes.
func TestCopyHoles(t *testing.T) {
	dir := t.TempDir()
	src, err := os.Create(filepath.Join(dir, "src"))
	if err != nil {
		t.Fatal(err)
	}
	src.WriteAt(bytes.Repeat([]byte("x"), 5000), 3<<20)
	src.WriteAt([]byte("end"), 40<<20)
	src.Truncate(50 << 20)
	for _, plain := range []bool{false, true} {
		dst, err := os.Create(filepath.Join(dir, "dst"))
		if err != nil {
			t.Fatal(err)
		}
		c := fileCopier{dst: dst, src: src}
		if plain {
			c.buf = make([]byte, 4096)
		}
		dst.Truncate(50 << 20)
		for _, x := range dataOf(src, 50<<20) {
			for x.n > 0 {
				n, err := c.copy(x.off, x.n)
				if err != nil {
					t.Fatal(err)
				}
				x.off += n
				x.n -= n
			}
		}
		a, _ := os.ReadFile(src.Name())
		b, _ := os.ReadFile(dst.Name())
		if !bytes.Equal(a, b) {
			t.Error("differs")
		}
		var st unix.Stat_t
		if unix.Fstat(int(dst.Fd()), &st); st.Blocks*512 > 1<<20 {
			t.Errorf("takes %d bytes", st.Blocks*512)
		}
		dst.Close()
	}
}

func TestSnapshot(t *testing.T) {
	image := small(t)
	before := describe(t, image)
	if out := ok(t, &snapshotCmd{Image: image}); !strings.Contains(out, "no snapshots") {
		t.Error(out)
	}
	ok(t, &snapshotCmd{Image: image, Name: "before"})
	fails(t, &snapshotCmd{Image: image, Name: "before"}, "is there already")
	if st, err := os.Stat(image + "@before"); err != nil || st.Mode().Perm() != 0o444 {
		t.Errorf("%v, %v", st, err)
	}
	file := save(t, "file", []byte("new"))
	ok(t, &putCmd{Image: image, Owner: "0:0", Path: []string{file, "/hello"}})
	ok(t, &snapshotCmd{Image: image, Name: "after"})
	changed := describe(t, image)
	if cmp.Equal(before, changed) {
		t.Fatal("nothing changed")
	}
	if out := ok(t, &snapshotCmd{Image: image}); !strings.Contains(out, "before") || !strings.Contains(out, "after") || strings.Count(out, "\n") != 3 {
		t.Error(out)
	}
	os.Chmod(image, 0o600)
	ok(t, &snapshotCmd{Image: image, Name: "before", Restore: true})
	e2fsck(t, image)
	if d := cmp.Diff(before, describe(t, image)); d != "" {
		t.Errorf("restored is not what it was: %s", d)
	}
	if st, err := os.Stat(image); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	ok(t, &snapshotCmd{Image: image, Name: "after", Restore: true})
	if d := cmp.Diff(changed, describe(t, image)); d != "" {
		t.Errorf("restored is not what it was: %s", d)
	}
	fails(t, &snapshotCmd{Image: image, Name: "none", Restore: true}, "no snapshot none", "after, before")
	fails(t, &snapshotCmd{Image: image, Name: "none", Delete: true}, "no snapshot none", "after, before")
	fails(t, &snapshotCmd{Image: image, Restore: true}, "say which")
	fails(t, &snapshotCmd{Image: image, Name: "../x"}, "cannot be called so")
	fails(t, &snapshotCmd{Image: image + "x"}, "no such file")
	fails(t, &snapshotCmd{Image: image + "x", Name: "y"}, "no such file")
	f, err := openLocked(image, false)
	if err != nil {
		t.Fatal(err)
	}
	fails(t, &snapshotCmd{Image: image, Name: "before", Restore: true}, "in use")
	ok(t, &snapshotCmd{Image: image, Name: "while-read"})
	f.Close()
	ok(t, &snapshotCmd{Image: image, Name: "before", Delete: true})
	if _, err := os.Stat(image + "@before"); err == nil {
		t.Error("is still there")
	}
}

func TestResize(t *testing.T) {
	image := small(t)
	want := describe(t, image)
	same := func(size int64) {
		t.Helper()
		e2fsck(t, image)
		if d := cmp.Diff(want, describe(t, image)); d != "" {
			t.Errorf("files differ: %s", d)
		}
		if st, err := os.Stat(image); err != nil || size > 0 && st.Size() != size {
			t.Errorf("%v: %d bytes, want %d", err, st.Size(), size)
		}
	}
	was, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	ok(t, &resizeCmd{Image: image, Size: "300M"})
	same(300 << 20)
	if now, err := os.Stat(image); err != nil || !os.SameFile(was, now) {
		t.Errorf("it did not grow where it is: %v", err)
	}
	ok(t, &resizeCmd{Image: image, Size: "+20M"})
	same(320 << 20)
	ok(t, &resizeCmd{Image: image, Size: "20G"})
	same(20 << 30)
	if out := ok(t, &resizeCmd{Image: image, DryRun: true, Size: "1G"}); !strings.Contains(out, "least:") || !strings.Contains(out, "then:  1G") {
		t.Error(out)
	}
	ok(t, &resizeCmd{Image: image, Minimum: true})
	same(0)
	st, _ := os.Stat(image)
	if st.Size() > 40<<20 {
		t.Errorf("the least is %d bytes", st.Size())
	}
	fails(t, &resizeCmd{Image: image, Size: "2M"}, "too small", "at least")
	fails(t, &resizeCmd{Image: image, Size: "2M", DryRun: true}, "too small", "at least")
	same(st.Size())
	fails(t, &resizeCmd{Image: image, Size: "20T"}, "image")
	fails(t, &resizeCmd{Image: image, Size: "8000000T"}, "size")
	fails(t, &resizeCmd{Image: image, Size: "x"}, "not a size")
	fails(t, &resizeCmd{Image: image, Size: "10"}, "too small")
	fails(t, &resizeCmd{Image: image}, "give the new size")
	fails(t, &resizeCmd{Image: image, Size: "1G", Minimum: true}, "not both")
	fails(t, &resizeCmd{Image: image + "x", Size: "1G"}, "no such file")
	fails(t, &resizeCmd{Image: save(t, "text", bytes.Repeat([]byte("text"), 10000)), Size: "1G"}, "not an image")
	same(st.Size())
	entries, _ := os.ReadDir(filepath.Dir(image))
	if len(entries) != 1 {
		t.Errorf("something is left over: %v", entries)
	}
	// By way of a link, the file is what changes.
	link := filepath.Join(t.TempDir(), "link.img")
	os.Symlink(image, link)
	ok(t, &resizeCmd{Image: link, Size: "64M"})
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
	same(64 << 20)
	f, err := openLocked(image, false)
	if err != nil {
		t.Fatal(err)
	}
	fails(t, &resizeCmd{Image: image, Size: "1G"}, "in use")
	f.Close()
}

// TestResizeDamaged: a damaged image is left alone.
func TestResizeDamaged(t *testing.T) {
	image := small(t)
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := superblock(f)
	if err != nil {
		t.Fatal(err)
	}
	// The block bitmap of the first group.
	var desc [64]byte
	f.ReadAt(desc[:], int64(s.FirstDataBlock+1)*int64(s.BlockSize()))
	bitmap := int64(desc[0]) | int64(desc[1])<<8
	f.WriteAt([]byte{0}, bitmap*int64(s.BlockSize()))
	f.Close()
	before, _ := os.ReadFile(image)
	fails(t, &resizeCmd{Image: image, Size: "1G"}, "damaged", "e2fsck -f")
	if after, _ := os.ReadFile(image); !bytes.Equal(before, after) {
		t.Error("the image was changed")
	}
}

// TestInterrupted: a command that is stopped leaves the image as it was, or clean.
func TestInterrupted(t *testing.T) {
	image := small(t)
	im, err := Open(image, true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := interruptible()
	im.ctx = ctx
	stop()
	layers := testLayers(t)
	src, err := openSource(save(t, "layer.tar", layers[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	c := importCommand(image, "layer.tar")
	if err := c.add(im, src, "/"); !errors.Is(err, ErrInterrupted) {
		t.Errorf("import: %v", err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	e2fsck(t, image)
	if out := ok(t, &infoCmd{Image: image}); !strings.Contains(out, "not complete: the import of") {
		t.Errorf("info: %s", out)
	}
	ok(t, importCommand(image, save(t, "layer.tar", layers[0])))
	if out := ok(t, &infoCmd{Image: image}); strings.Contains(out, "not complete") {
		t.Errorf("info: %s", out)
	}
	e2fsck(t, image)
}
