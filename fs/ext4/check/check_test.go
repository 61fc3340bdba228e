package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pinhole/blockdev/filedev"
	"pinhole/tests/harness"
)

// tool runs a program of e2fsprogs and returns its output.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(harness.Tool(t, name, "e2fsprogs"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// newImage makes an image with mkfs.ext4 and returns its path.
func newImage(t testing.TB, size string, opts ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	tool(t, "mkfs.ext4", append(append([]string{"-q", "-F", "-U", "01234567-89ab-cdef-0123-456789abcdef", "-E", "nodiscard,hash_seed=76543210-89ab-cdef-0123-456789abcdef"}, opts...), path, size)...)
	return path
}

// checkFile runs the check on an image file.
func checkFile(t testing.TB, path string, o Options) *Report {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := filedev.New(f)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tree makes a directory with some of everything.
func tree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, n int) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(strings.Repeat("x", n)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("empty", 0)
	write("small", 100)
	write("a/b/c/deep", 5000)
	write("large", 3<<20)
	for i := range 1500 {
		write(fmt.Sprintf("many/file-%d-%s", i, strings.Repeat("n", i%60)), i%3)
	}
	if err := os.Symlink("small", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(strings.Repeat("long/", 50), filepath.Join(dir, "longlink")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "small"), filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestClean: nothing is said of what mkfs.ext4 makes, with any features that are known.
func TestClean(t *testing.T) {
	dir := tree(t)
	for _, opts := range [][]string{
		nil, {"-b", "1024"}, {"-b", "2048"}, {"-t", "ext2"}, {"-t", "ext3"}, {"-t", "ext3", "-b", "1024"},
		{"-O", "^64bit"}, {"-O", "^metadata_csum"}, {"-O", "^metadata_csum,uninit_bg"}, {"-O", "^resize_inode,meta_bg"},
		{"-O", "^flex_bg"}, {"-O", "sparse_super2,^resize_inode"}, {"-I", "128"}, {"-I", "1024"}, {"-O", "^has_journal"},
		{"-O", "orphan_file"}, {"-O", "metadata_csum_seed"}, {"-O", "large_dir"}, {"-O", "fast_commit"}, {"-g", "2048", "-b", "1024"},
		{"-O", "^dir_index"}, {"-O", "^filetype"}, {"-E", "lazy_itable_init=1"}, {"-E", "resize=10G"}, {"-O", "^ext_attr,^huge_file"},
		{"-O", "^sparse_super,^resize_inode"},
	} {
		t.Run(strings.Join(opts, " "), func(t *testing.T) {
			t.Parallel()
			path := newImage(t, "64M", append([]string{"-d", dir}, opts...)...)
			for _, o := range []Options{{}, {Replay: true}} {
				r := checkFile(t, path, o)
				if r.Errors != 0 || r.Notes != 0 || r.Incomplete {
					for _, p := range r.Problems {
						t.Errorf("%s: %s", p.Code, p)
					}
				}
			}
		})
	}
}
