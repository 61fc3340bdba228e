package mkfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pinhole/blockdev/filedev"
	"pinhole/fs/ext4/check"
	"pinhole/fs/ext4/disk"
	"pinhole/tests/harness"
)

// differs has what is told differently of file systems of ours and of mkfs.ext4, and why.
var differs = map[string]string{
	"Filesystem UUID":     "random",
	"Directory Hash Seed": "random; ours follows from the UUID",
	"Checksum seed":       "follows from the UUID",
	"Checksum":            "of all that",
	"Filesystem created":  "now",
	"Last write time":     "now",
	"Last checked":        "now",
	"Lifetime writes":     "e2fsprogs' library counts what it writes; only a statistic",
}

// dump returns what dumpe2fs -h or tune2fs -l says, by field.
func dump(t testing.TB, program, option, path string) map[string]string {
	t.Helper()
	fields := make(map[string]string)
	for line := range strings.Lines(tool(t, program, option, path)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.Join(strings.Fields(value), " ")
		}
	}
	return fields
}

// stock is mkfs.ext4 with the configuration that upstream has.
func stock(t testing.TB, size int64, bs int, args ...string) string {
	t.Helper()
	ratio := 16384
	if size < smallest {
		ratio = 4096
	} else if size >= largest {
		ratio = 32768
	}
	path := filepath.Join(t.TempDir(), "stock")
	tool(t, "mkfs.ext4", append(append([]string{"-q", "-F", "-b", fmt.Sprint(bs), "-i", fmt.Sprint(ratio), "-I", "256",
		"-O", "orphan_file,metadata_csum_seed", "-E", "lazy_itable_init=1,lazy_journal_init=1"}, args...), path, fmt.Sprintf("%dk", size/1024))...)
	return path
}

// TestStock: but for what differs, dumpe2fs and tune2fs tell the same of both.
func TestStock(t *testing.T) {
	for _, c := range []struct {
		size int64
		o    Options
		args []string
	}{
		{64 << 20, Options{}, []string{"-m", "0"}},
		{64 << 20, Options{BlockSize: 1024, Reserved: 5}, nil},
		{600 << 20, Options{Reserved: 1.5, Label: "a label"}, []string{"-m", "1.5", "-L", "a label"}},
		{1 << 30, Options{JournalSize: 100 << 20}, []string{"-m", "0", "-J", "size=100"}},
		{1 << 30, Options{NoJournal: true}, []string{"-m", "0", "-O", "^has_journal,^orphan_file"}},
		{1 << 30, Options{NoResize: true, NoOrphanFile: true, NoChecksumSeed: true}, []string{"-m", "0", "-O", "^resize_inode,^orphan_file,^metadata_csum_seed"}},
		{3<<30 + 12345*4096, Options{BlockSize: 2048}, []string{"-m", "0"}},
		{8 << 30, Options{BlockSize: 1024, BytesPerInode: 8192}, []string{"-m", "0", "-i", "8192"}},
		{40 << 30, Options{}, []string{"-m", "0"}},
		{200 << 30, Options{}, []string{"-m", "0"}},
		{5 << 40, Options{}, []string{"-m", "0"}},
	} {
		t.Run(fmt.Sprintf("%dM %s", c.size>>20, strings.Join(c.args, " ")), func(t *testing.T) {
			t.Parallel()
			c.o.Fresh = true
			bs := c.o.BlockSize
			if bs == 0 {
				bs = 4096
			}
			ours, theirs := image(t, c.size, c.o), stock(t, c.size, bs, c.args...)
			for program, option := range map[string]string{"dumpe2fs": "-h", "tune2fs": "-l"} {
				have, want := dump(t, program, option, ours), dump(t, program, option, theirs)
				for name, value := range want {
					if have[name] != value && differs[name] == "" {
						t.Errorf("%s: %q, mkfs.ext4 has %q", name, have[name], value)
					}
				}
				for name, value := range have {
					if _, ok := want[name]; !ok {
						t.Errorf("%s: %q, which mkfs.ext4 has not", name, value)
					}
				}
			}
			e2fsck(t, ours)
		})
	}
}

// TestLarge: terabytes, and 10,000,000 inodes, take little on the host.
func TestLarge(t *testing.T) {
	for _, c := range []struct {
		size, most int64 // bytes; what it may take on the host
		o          Options
	}{
		{1 << 40, 64 << 20, Options{}},
		{100 << 30, 64 << 20, Options{Inodes: 10_000_000}},
		{16<<40 - 4096, 512 << 20, Options{}},
	} {
		t.Run(fmt.Sprintf("%dG", c.size>>30), func(t *testing.T) {
			if c.size > 4<<40 && os.Getenv("PINHOLE_LONG") == "" {
				t.Skip("long: needs PINHOLE_LONG=1")
			}
			c.o.Fresh = true
			path := image(t, c.size, c.o)
			var st syscall.Stat_t
			if err := syscall.Stat(path, &st); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d KiB on the host", st.Blocks/2)
			if st.Blocks*512 > c.most {
				t.Errorf("takes %d bytes on the host", st.Blocks*512)
			}
			var s disk.Superblock
			readSuper(t, path, &s)
			if uint64(s.InodesCount) < c.o.Inodes {
				t.Errorf("%d inodes", s.InodesCount)
			}
			e2fsck(t, path)
			ownCheck(t, path)
		})
	}
}

// ownCheck is the check of this project, which must find nothing.
func ownCheck(t testing.TB, path string) {
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
	r, err := check.Run(d, check.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		t.Errorf("%s: %s", p.Code, p)
	}
}

// TestZeroJournal: the blocks that were asked for have blocks on the host, on one that is sparse.
func TestZeroJournal(t *testing.T) {
	used := func(o Options) int64 {
		o.Fresh = true
		path := image(t, 1<<30, o)
		e2fsck(t, path)
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	none := used(Options{})
	if some := used(Options{ZeroJournal: 10 << 20}); some < none+9<<20 || some > none+12<<20 {
		t.Errorf("10 MiB zeroed take %d bytes more", some-none)
	}
	if all := used(Options{ZeroJournal: -1}); all < none+31<<20 || all > none+34<<20 {
		t.Errorf("a journal of 32 MiB takes %d bytes more", all-none)
	}
}

// TestGrow: resize2fs makes ours larger, by way of the resize inode, which can be done while it is
// mounted, too.
func TestGrow(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			t.Parallel()
			path := image(t, 64<<20, Options{BlockSize: bs, Fresh: true, Files: []File{{Path: "/a/file", Content: []byte("content")}}})
			if err := os.Truncate(path, 3<<30); err != nil {
				t.Fatal(err)
			}
			tool(t, "resize2fs", "-f", path)
			e2fsck(t, path)
			ownCheck(t, path)
			if out := tool(t, "debugfs", "-R", "cat /a/file", path); !strings.Contains(out, "content") {
				t.Errorf("/a/file: %s", out)
			}
		})
	}
}

// TestHost: the host's kernel mounts them for writing.
func TestHost(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	for _, o := range []Options{{}, {BlockSize: 1024}, {BlockSize: 2048, NoJournal: true}, {NoResize: true, NoOrphanFile: true, NoChecksumSeed: true}} {
		t.Run(fmt.Sprintf("%+v", o.BlockSize), func(t *testing.T) {
			o.Fresh, o.RootUID, o.RootGID = true, 1000, 1001
			path := image(t, 64<<20, o)
			dir := t.TempDir()
			if out, err := exec.Command("mount", "-o", "loop", path, dir).CombinedOutput(); err != nil {
				t.Skipf("cannot mount here: %v: %s", err, out)
			}
			mounted := true
			umount := func() {
				if mounted {
					mounted = false
					if err := harness.Unmount(dir); err != nil {
						t.Error(err)
					}
				}
			}
			defer umount()
			var st syscall.Stat_t
			if err := syscall.Stat(dir, &st); err != nil || st.Uid != 1000 || st.Gid != 1001 {
				t.Errorf("the root is of %d:%d: %v", st.Uid, st.Gid, err)
			}
			for i := range 500 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d", i)), make([]byte, i*100), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			umount()
			e2fsck(t, path)
			ownCheck(t, path)
		})
	}
}
