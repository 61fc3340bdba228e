package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pinhole/fs/vfs"
)

// run runs a command as the command line does and returns what it prints.
func run(t testing.TB, c interface{ Run() error }) (string, error) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	stdout := os.Stdout
	os.Stdout = out
	err = c.Run()
	os.Stdout = stdout
	text, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(text), err
}

// ok is run of what must work.
func ok(t testing.TB, c interface{ Run() error }) string {
	t.Helper()
	out, err := run(t, c)
	if err != nil {
		t.Fatalf("%T: %v\n%s", c, err, out)
	}
	return out
}

// fails checks that a command fails with a message of one line that has all these words.
func fails(t testing.TB, c interface{ Run() error }, words ...string) {
	t.Helper()
	_, err := run(t, c)
	if err == nil {
		t.Errorf("%T: no error, want one with %q", c, words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%T: %q, want %q in it", c, err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%T: %q has several lines", c, err)
	}
}

// create makes an image and returns its path.
func create(t testing.TB, c createCmd) string {
	t.Helper()
	c.Image = filepath.Join(t.TempDir(), "disk.img")
	if c.BlockSize == 0 {
		c.BlockSize = 4096
	}
	ok(t, &c)
	return c.Image
}

// e2fsck checks an image file; it must find nothing.
func e2fsck(t testing.TB, path string) {
	t.Helper()
	tool, err := findTool("e2fsck")
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(tool, "-fn", path).CombinedOutput()
	if err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "Pass ") && !strings.HasPrefix(line, "e2fsck ") && !strings.Contains(line, " files (") {
			t.Errorf("e2fsck: %s", line)
		}
	}
}

func TestCreateEmpty(t *testing.T) {
	for _, c := range []createCmd{
		{}, {Size: 5 << 20, BlockSize: 1024, Label: "five"}, {Size: 100 << 20, Inodes: 20000, NoJournal: true},
		{Size: 200 << 20, SparseJournal: true, JournalSize: 20 << 20, Reserved: 5, BytesPerInode: 8192, UUID: fsUUID{1, 2}, HashSeed: fsUUID{3}},
		{Size: 200 << 20, RootOwner: rootOwner{uid: 7, gid: 8}, Features: features{noResize: true, noOrphanFile: true, noChecksumSeed: true}},
	} {
		t.Run(fmt.Sprint(int64(c.Size)), func(t *testing.T) {
			path := create(t, c)
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			want := int64(c.Size)
			if want == 0 {
				want = defaultSize
			}
			if st.Size() != want {
				t.Errorf("size %d, want %d", st.Size(), want)
			}
			if used := st.Sys().(*syscall.Stat_t).Blocks * 512; used > want/4 {
				t.Errorf("takes %d bytes on the host", used)
			}
			e2fsck(t, path)
			if got := ok(t, &lsCmd{Image: path}); got != "lost+found\n" {
				t.Errorf("ls: %q", got)
			}
			info := ok(t, &infoCmd{Image: path})
			for _, word := range []string{path, "clean", "metadata_csum", "extent", string(c.Label), "room for"} {
				if !strings.Contains(info, word) {
					t.Errorf("info without %q:\n%s", word, info)
				}
			}
			if strings.Contains(info, "has_journal") == c.NoJournal {
				t.Errorf("journal: %s", info)
			}
			if out := ok(t, &checkCmd{Image: path}); !strings.Contains(out, "no damage") {
				t.Errorf("check: %s", out)
			}
		})
	}
}

// fill makes a directory with a file of each kind.
func fill(t testing.TB, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, content string, mode fs.FileMode) {
		t.Helper()
		must(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		must(os.Chmod(filepath.Join(dir, name), mode))
	}
	must(os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755))
	must(os.Mkdir(filepath.Join(dir, "private"), 0o700))
	write("hello", "hello\n", 0o644)
	write("a/empty", "", 0o400)
	write("a/b/program", strings.Repeat("program ", 100000), 0o755)
	write("name with\nnewline", "x", 0o644)
	write("private/"+strings.Repeat("n", 255), "long name", 0o600)
	must(os.Link(filepath.Join(dir, "hello"), filepath.Join(dir, "a/hello-again")))
	must(os.Symlink("../hello", filepath.Join(dir, "a/link")))
	must(os.Symlink("/nowhere", filepath.Join(dir, "dangling")))
	must(os.Symlink(strings.Repeat("long/", 100), filepath.Join(dir, "longlink")))
	for i := range 300 {
		write(fmt.Sprintf("a/b/c/%d", i), fmt.Sprint(i), 0o640)
	}
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	must(err)
	_, err = sparse.WriteAt([]byte("in the middle"), 3<<20)
	must(err)
	must(sparse.Truncate(10 << 20))
	must(sparse.Close())
	must(os.Chmod(filepath.Join(dir, "private"), fs.ModeSetgid|0o711))
	must(os.Chmod(filepath.Join(dir, "a"), fs.ModeSticky|0o777))
	err = unix.Setxattr(filepath.Join(dir, "hello"), "user.test", []byte("value"), 0)
	if err != nil && err != unix.ENOTSUP {
		t.Fatal(err)
	}
	when := time.Unix(1234567890, 123456789)
	must(filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{unix.NsecToTimespec(when.UnixNano()), unix.NsecToTimespec(when.UnixNano())}, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// snapshot describes a tree of the host, by path.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	inodes := make(map[uint64]string)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		desc := fmt.Sprintf("mode %o", st.Mode)
		if !d.IsDir() {
			desc += fmt.Sprintf(" size %d", st.Size)
		}
		if d.Type()&fs.ModeSymlink == 0 && name != "." {
			desc += fmt.Sprintf(" mtime %d.%d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		if first, ok := inodes[st.Ino]; ok {
			desc += " same as " + first
		}
		inodes[st.Ino] = name
		switch {
		case d.Type().IsRegular():
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			desc += fmt.Sprintf(" content %.20q...", content)
			if bytes.Contains(content, []byte("in the middle")) {
				desc += " sparse"
			}
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			desc += " -> " + target
		}
		all[name] = desc
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRoundTrip: what goes in from a directory or an archive comes out the same.
func TestRoundTrip(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	fill(t, src)
	want := snapshot(t, src)
	// Special bits come out with --keep-owner only.
	for name, desc := range want {
		want[name] = strings.NewReplacer("mode 42711", "mode 40711", "mode 41777", "mode 40777").Replace(desc)
	}
	archive := func(t *testing.T, gz bool) string {
		tool, err := exec.LookPath("tar")
		if err != nil {
			t.Skip(err)
		}
		name := filepath.Join(t.TempDir(), "src.tar")
		flags := "-cSf"
		if gz {
			flags = "-czSf"
		}
		if out, err := exec.Command(tool, "--format=pax", flags, name, "-C", src, ".").CombinedOutput(); err != nil {
			t.Fatalf("tar: %v\n%s", err, out)
		}
		return name
	}
	for _, test := range []struct {
		name string
		make func(t *testing.T) string
	}{
		{"directory", func(t *testing.T) string { return create(t, createCmd{From: src}) }},
		{"directory, 1 KiB blocks", func(t *testing.T) string { return create(t, createCmd{From: src, BlockSize: 1024, Size: 40 << 20}) }},
		{"tar", func(t *testing.T) string { return create(t, createCmd{From: archive(t, false)}) }},
		{"tar.gz", func(t *testing.T) string { return create(t, createCmd{From: archive(t, true)}) }},
		{"standard input", func(t *testing.T) string {
			f, err := os.Open(archive(t, false))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			stdin := os.Stdin
			defer func() { os.Stdin = stdin }()
			os.Stdin = f
			return create(t, createCmd{From: "-", Size: 100 << 20})
		}},
		{"put", func(t *testing.T) string {
			path := create(t, createCmd{Size: 64 << 20})
			entries, err := os.ReadDir(src)
			if err != nil {
				t.Fatal(err)
			}
			var args []string
			for _, e := range entries {
				args = append(args, filepath.Join(src, e.Name()))
			}
			ok(t, &putCmd{Image: path, Owner: "5:6", Path: append(args, "/")})
			if out := ok(t, &lsCmd{Image: path, Long: true, Path: []string{"/hello"}}); !strings.Contains(out, "-rw-r--r-- 2 5 6") {
				t.Errorf("ls -l: %q", out)
			}
			return path
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := test.make(t)
			e2fsck(t, path)
			if out := ok(t, &checkCmd{Image: path}); !strings.Contains(out, "no damage") {
				t.Error(out)
			}
			dst := filepath.Join(t.TempDir(), "dst")
			ok(t, &getCmd{Image: path, Path: []string{"/", dst}})
			got := snapshot(t, dst)
			delete(got, "lost+found")
			got["."] = want["."]
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("tree differs (-want +got):\n%s", d)
			}
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(dst, "sparse"), &st); err != nil || st.Blocks*512 > 1<<20 {
				t.Errorf("the sparse file takes %d bytes, %v", st.Blocks*512, err)
			}
			if out := ok(t, &catCmd{Image: path, Path: []string{"/hello", "a/link"}}); out != "hello\nhello\n" {
				t.Errorf("cat: %q", out)
			}
			tool, err := findTool("debugfs")
			if err != nil {
				t.Skip(err)
			}
			out, err := exec.Command(tool, "-R", "stat /private", path).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "Mode:  02711") {
				t.Errorf("debugfs: %v\n%s", err, out)
			}
		})
	}
}

// TestTar has what only an archive made on purpose has.
func TestTar(t *testing.T) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	add := func(h tar.Header, content string) {
		t.Helper()
		h.Size = int64(len(content))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	add(tar.Header{Name: "dir/sub/file", Uid: 1000, Gid: 70000, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b", "SCHILY.xattr.security.selinux": "no"}}, "content")
	add(tar.Header{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o750, ModTime: time.Unix(1e9, 0)}, "")
	add(tar.Header{Name: "../../escape", Uid: 1}, "in the image")
	add(tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, "")
	add(tar.Header{Name: "fifo", Typeflag: tar.TypeFifo}, "")
	add(tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "dir/sub/file"}, "")
	add(tar.Header{Name: "again"}, "first")
	add(tar.Header{Name: "again", Mode: 0o4711}, "second")
	w.Close()
	z.Close()
	name := filepath.Join(t.TempDir(), "a.tar.gz")
	if err := os.WriteFile(name, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	path := create(t, createCmd{From: name, Size: 16 << 20})
	e2fsck(t, path)
	out := ok(t, &lsCmd{Image: path, Long: true, Recursive: true})
	for _, want := range []string{
		"-rws--x--x 1 0 0 6 ", "-rw-r--r-- 2 1000 70000 7 ", "drwxr-x--- 3 0 0 ", "crw-rw-rw- 1 0 0 1,3 ", "prw-r--r-- ", "/dev:", "escape",
	} {
		if !strings.Contains(strings.Join(strings.FieldsFunc(out, func(r rune) bool { return r == ' ' }), " "), want) {
			t.Errorf("ls -lR has no %q:\n%s", want, out)
		}
	}
	if out := ok(t, &catCmd{Image: path, Path: []string{"escape", "hard", "again"}}); out != "in the imagecontentsecond" {
		t.Errorf("cat: %q", out)
	}
	im, err := Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	d, _, err := im.walk("/hard", true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Unref()
	x := d.Node().(vfs.XattrNode)
	names, e := x.Listxattr()
	if e != 0 || len(names) != 1 || names[0] != "user.a" {
		t.Errorf("attributes %q, %s", names, e.String())
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := create(t, createCmd{Size: 16 << 20})
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	text := write("text", bytes.Repeat([]byte("no image"), 10000))
	short := write("short", content[:8<<20])
	tiny := write("tiny", []byte("x"))
	damaged := bytes.Clone(content)
	damaged[1024+0x68] ^= 1
	bad := write("bad", damaged)

	for _, c := range []func(image string) interface{ Run() error }{
		func(i string) interface{ Run() error } { return &lsCmd{Image: i} },
		func(i string) interface{ Run() error } { return &catCmd{Image: i, Path: []string{"x"}} },
		func(i string) interface{ Run() error } { return &getCmd{Image: i, Path: []string{"x", dir}} },
		func(i string) interface{ Run() error } {
			return &putCmd{Image: i, Owner: "0:0", Path: []string{text, "/"}}
		},
		func(i string) interface{ Run() error } { return &infoCmd{Image: i} },
		func(i string) interface{ Run() error } { return &checkCmd{Image: i} },
	} {
		fails(t, c(text), text, "not an ext4 image")
		fails(t, c(short), short, "truncated")
		fails(t, c(tiny), tiny, "too small")
		fails(t, c(bad), bad, "checksum")
		fails(t, c(filepath.Join(dir, "missing")), "missing", "no such file", "pinhole image create")
		fails(t, c(dir), dir, "is a directory")
		fails(t, c("/dev/null"), "neither a file nor")
	}
	fails(t, &catCmd{Image: good, Path: []string{"/missing"}}, good, "/missing", "no such file or directory in the image")
	fails(t, &catCmd{Image: good, Path: []string{"/lost+found"}}, "is not a regular file")
	fails(t, &lsCmd{Image: good, Path: []string{"/x"}}, "no such file or directory in the image")
	fails(t, &getCmd{Image: good, Path: []string{"/x", dir}}, "no such file or directory in the image")
	fails(t, &getCmd{Image: good, Path: []string{"/"}}, "last")
	fails(t, &getCmd{Image: good, Path: []string{"/", filepath.Join(dir, "no") + "/"}}, "is not a directory")
	fails(t, &putCmd{Image: good, Owner: "0:0", Path: []string{"/etc/hostname"}}, "last")
	fails(t, &putCmd{Image: good, Owner: "root", Path: []string{text, "/"}}, "--owner", "numbers")
	fails(t, &putCmd{Image: good, Owner: "0:0", Path: []string{filepath.Join(dir, "missing"), "/"}}, "no such file")
	fails(t, &createCmd{Image: good, BlockSize: 4096}, "is there already", "--force")
	fails(t, &createCmd{Image: dir, BlockSize: 4096}, "is a directory")
	fails(t, &createCmd{Image: filepath.Join(dir, "no/disk"), BlockSize: 4096}, "cannot be made")
	fails(t, &createCmd{Image: filepath.Join(dir, "new"), BlockSize: 4096, Size: 1000}, "too small")
	fails(t, &createCmd{Image: filepath.Join(dir, "new"), BlockSize: 4096, From: filepath.Join(dir, "missing")}, "--from", "no such")
	fails(t, &createCmd{Image: filepath.Join(dir, "new"), BlockSize: 4096, From: text}, "not a tar archive")
	fails(t, &createCmd{Image: filepath.Join(dir, "new"), BlockSize: 4096, From: write("zst", []byte("\x28\xb5\x2f\xfdxxxxxxxx"))}, "zstd stream is damaged")
	fails(t, &createCmd{Image: filepath.Join(dir, "new"), BlockSize: 4096, Label: strings.Repeat("l", 17)}, "label")
	big := write("big", bytes.Repeat([]byte("big"), 2<<20))
	fails(t, &createCmd{Image: filepath.Join(dir, "new"), BlockSize: 4096, Size: 4 << 20, From: filepath.Dir(big)}, "full", "larger")
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a failed create leaves a file")
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left over", e.Name())
		}
	}
}

// TestLock: an image that somebody uses is refused, also to readers if it is being written.
func TestLock(t *testing.T) {
	path := create(t, createCmd{Size: 16 << 20})
	hold := func(how int) *os.File {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Flock(int(f.Fd()), how); err != nil {
			t.Fatal(err)
		}
		return f
	}
	writer := hold(unix.LOCK_EX)
	fails(t, &lsCmd{Image: path}, path, "in use", "copy")
	fails(t, &putCmd{Image: path, Owner: "0:0", Path: []string{"/etc/passwd", "/"}}, "in use")
	fails(t, &createCmd{Image: path, Force: true, BlockSize: 4096}, "in use")
	writer.Close()
	reader := hold(unix.LOCK_SH)
	ok(t, &lsCmd{Image: path})
	fails(t, &putCmd{Image: path, Owner: "0:0", Path: []string{"/etc/passwd", "/"}}, "in use")
	reader.Close()
	ok(t, &createCmd{Image: path, Force: true, BlockSize: 4096, Size: 8 << 20})
	if st, err := os.Stat(path); err != nil || st.Size() != 8<<20 {
		t.Errorf("not replaced: %v, %v", st, err)
	}
}

// TestPutPlaces: where copies go.
func TestPutPlaces(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("one"), 0o755); err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(dir, "tree")
	fill(t, tree)
	path := create(t, createCmd{Size: 64 << 20})
	put := func(args ...string) {
		t.Helper()
		ok(t, &putCmd{Image: path, Owner: "0:0", Path: args})
	}
	put(file, "/bin/")          // made
	put(file, "/bin")           // into it
	put(file, "renamed")        // from the root
	put(file, "/new/deep/name") // with the directories above
	put(tree, "/copied")        // new name
	put(tree, "/copied")        // into it
	put(file, tree, "/both")    // several
	put(tree+"/.", "/dot/")     // its own name
	e2fsck(t, path)
	for _, p := range []string{"/bin/file", "/renamed", "/new/deep/name", "/copied/hello", "/copied/tree/hello", "/both/file", "/both/tree/hello", "/dot/tree/hello"} {
		ok(t, &catCmd{Image: path, Path: []string{p}})
	}
	// Replacing: a file, but not a directory by a file or the other way round.
	if err := os.WriteFile(file, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(file, "/bin/file")
	if out := ok(t, &catCmd{Image: path, Path: []string{"/bin/file"}}); out != "two" {
		t.Errorf("cat: %q", out)
	}
	fails(t, &putCmd{Image: path, Owner: "0:0", Path: []string{file, "/renamed/x"}}, "/renamed", "not a directory")
	fails(t, &putCmd{Image: path, Owner: "0:0", Path: []string{tree, "/renamed"}}, "/renamed", "not a directory")
	e2fsck(t, path)
}

// TestGetHostile: links of the image or of the place do not lead out of the place.
func TestGetHostile(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(dir, "src")
	if err := os.MkdirAll(filepath.Join(src, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "d/file"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := create(t, createCmd{Size: 16 << 20, From: src})
	dst := filepath.Join(dir, "dst")
	if err := os.MkdirAll(dst, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dst, "d")); err != nil {
		t.Fatal(err)
	}
	_, err := run(t, &getCmd{Image: path, Path: []string{"/d", dst}})
	if err == nil {
		t.Error("no error for a symbolic link in the way")
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 0 {
		t.Errorf("something was written outside: %v", entries)
	}
}

// TestCheckFinds: damage that e2fsprogs makes is found.
func TestCheckFinds(t *testing.T) {
	tool, err := findTool("debugfs")
	if err != nil {
		t.Skip(err)
	}
	src := filepath.Join(t.TempDir(), "src")
	fill(t, src)
	for _, test := range []struct{ command, want string }{
		{"set_inode_field /hello links_count 7", "[link-count]"},
		{"set_inode_field /a links_count 9", "[link-count]"},
		{"unlink /hello", "[link-count]"},
		{"clri /a/b/program", "[dir-inode]"},
		{"kill_file /a/empty", "[inode-dtime]"},
	} {
		t.Run(test.command, func(t *testing.T) {
			path := create(t, createCmd{From: src, Size: 64 << 20})
			if out, err := exec.Command(tool, "-w", "-R", test.command, path).CombinedOutput(); err != nil {
				t.Fatalf("debugfs: %v\n%s", err, out)
			}
			out, err := run(t, &checkCmd{Image: path})
			if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(out, test.want) {
				t.Errorf("check: %v\n%s", err, out)
			}
			if _, err := run(t, &checkCmd{Image: path, E2fsck: true}); err == nil {
				t.Error("check with e2fsck finds nothing")
			}
		})
	}
}
