package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/tests/harness"
)

// sourceTree makes files of many kinds below a new directory, and returns it with the
// description that tree must give of it.
func sourceTree(t testing.TB) (string, map[string]string) {
	t.Helper()
	root := t.TempDir()
	rnd := rand.New(rand.NewPCG(1, 2))
	put := func(name string, data []byte) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{0, 1, 1023, 1024, 4096, 4097, 100000, 3 << 20} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		put(fmt.Sprintf("sizes/%d", size), data)
	}
	for i := range 500 {
		put(fmt.Sprintf("many/a-name-of-some-length-%06d", i), []byte(fmt.Sprint(i)))
	}
	put("deep/1/2/3/4/5/6/7/8/file", []byte("deep"))
	sparse, err := os.Create(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		sparse.WriteAt([]byte("content"), int64(i)*70001)
	}
	sparse.Truncate(5 << 20)
	sparse.Close()
	os.Symlink("sizes/1", filepath.Join(root, "short-link"))
	os.Symlink(strings.Repeat("long/", 30)+"link", filepath.Join(root, "long-link"))
	os.Link(filepath.Join(root, "sizes/4097"), filepath.Join(root, "hard"))
	syscall.Mkfifo(filepath.Join(root, "fifo"), 0o600)
	os.Chmod(filepath.Join(root, "sizes/1"), 0o4755)

	want := make(map[string]string)
	filepath.Walk(root, func(path string, fi os.FileInfo, err error) error {
		if err != nil || path == root {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		s := fmt.Sprintf("%06o %d:%d links=%d mtime=%d.%09d", st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim.Sec, 0)
		switch st.Mode & abi.S_IFMT {
		case abi.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s += fmt.Sprintf(" size=%d sum=%x", len(b), sum(b))
		case abi.S_IFLNK:
			target, _ := os.Readlink(path)
			s += " -> " + target
		}
		want[strings.TrimPrefix(path, root)] = s
		return nil
	})
	return root, want
}

var imageKinds = map[string][]string{
	"1k":        {"-b", "1024"},
	"2k":        {"-b", "2048"},
	"4k":        {"-b", "4096"},
	"nocsum":    {"-b", "1024", "-O", "^metadata_csum"},
	"uninit_bg": {"-b", "1024", "-O", "^metadata_csum,uninit_bg"},
	"32bit":     {"-b", "4096", "-O", "^64bit"},
	"inode128":  {"-b", "1024", "-I", "128"},
	"nofiletyp": {"-b", "1024", "-O", "^filetype"},
	"nojournal": {"-b", "4096", "-O", "^has_journal"},
	"meta_bg":   {"-b", "1024", "-O", "meta_bg,^resize_inode"},
	"no_flex":   {"-b", "1024", "-O", "^flex_bg"},
	"orphan":    {"-b", "1024", "-O", "orphan_file"},
	"ext3":      {"-b", "1024", "-t", "ext3"},
	"ext2":      {"-b", "1024", "-t", "ext2"},
}

func TestReadImages(t *testing.T) {
	src, want := sourceTree(t)
	for name, opts := range imageKinds {
		for _, indexed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/indexed=%v", name, indexed), func(t *testing.T) {
				img := mkfs(t, "64M", append(opts, "-d", src)...)
				if indexed {
					path := filepath.Join(t.TempDir(), "image")
					os.WriteFile(path, img, 0o600)
					exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-fyD", path).Run()
					img, _ = os.ReadFile(path)
				}
				before := bytes.Clone(img)
				fs, dev := mount(t, img, !indexed, Options{ReadOnly: true})
				root := fs.Root()
				got := tree(t, root)
				delete(got, "/lost+found")
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("tree (-want +got):\n%s", d)
				}
				many, _ := root.Lookup("many")
				a, b := names(t, many, 1), names(t, many, 1000)
				if !slices.Equal(a, b) || len(a) != 502 {
					t.Errorf("reading entry by entry gives %d names, at once %d", len(a), len(b))
				}
				many.Unref()
				root.Unref()
				if e := fs.Unmount(); e != 0 {
					t.Errorf("unmount: %v", e)
				}
				if !bytes.Equal(before, dev.Image()) {
					t.Error("a read-only mount has changed the image")
				}
			})
		}
	}
}
