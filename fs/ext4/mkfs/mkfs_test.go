package mkfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev/filedev"
	"pinhole/fs/ext4/disk"
)

// image makes a sparse file with a file system on it and returns its path.
func image(t testing.TB, size int64, o Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !o.Fresh {
		// Something to be got rid of.
		junk := bytes.Repeat([]byte{0xa5}, int(min(size, 64<<20)))
		if _, err := f.Write(junk); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	d, err := filedev.New(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := Format(d, o); err != nil {
		t.Fatal(err)
	}
	return path
}

// tool runs a program of e2fsprogs.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/sbin/" + name); err != nil {
			t.Skipf("needs %s of e2fsprogs", name)
		}
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// e2fsck is e2fsck -fn, which must find nothing.
func e2fsck(t testing.TB, path string) {
	t.Helper()
	out := tool(t, "e2fsck", "-fn", path)
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "e2fsck ") && !strings.HasPrefix(line, "Pass ") && !strings.Contains(line, " files (") {
			t.Errorf("e2fsck: %s", line)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, bs := range []int{1024, 2048, 4096} {
		for _, size := range []int64{
			1 << 20, 1<<20 + 512, 3 << 20, 8<<20 - 4096, 8 << 20, 8<<20 + 1024, 8<<20 + 100<<10, 10 << 20, 17 << 20, 32 << 20, 64 << 20,
			128 << 20, 128<<20 + 4096, 128<<20 + 300<<10, 129 << 20, 500 << 20, 512 << 20, 1 << 30,
			2<<30 + 12345678, 5 << 30, 16 << 30, 64 << 30,
		} {
			t.Run(fmt.Sprintf("%d/%d", bs, size), func(t *testing.T) {
				t.Parallel()
				path := image(t, size, Options{BlockSize: bs, Fresh: true})
				e2fsck(t, path)
				ownCheck(t, path)
			})
		}
	}
}

// TestSmall: every size from the smallest on either works or is refused.
func TestSmall(t *testing.T) {
	for _, bs := range []int64{1024, 4096} {
		made := 0
		for blocks := int64(1); blocks < 400; blocks += 13 {
			path := filepath.Join(t.TempDir(), "image")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(blocks * bs); err != nil {
				t.Fatal(err)
			}
			d, err := filedev.New(f)
			if err != nil {
				t.Fatal(err)
			}
			err = Format(d, Options{BlockSize: int(bs), Fresh: true})
			switch {
			case errors.Is(err, ErrTooSmall), errors.Is(err, ErrNoRoom):
				if blocks >= 256 {
					t.Errorf("%d blocks of %d bytes refused: %v", blocks, bs, err)
				}
			case err != nil:
				t.Errorf("%d blocks of %d bytes: %v", blocks, bs, err)
			default:
				made++
				e2fsck(t, path)
			}
		}
		if made == 0 {
			t.Error("none was made")
		}
	}
}

// TestUsedDevice: what was on the device before does not matter.
func TestUsedDevice(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		e2fsck(t, image(t, 40<<20, Options{BlockSize: bs}))
	}
}

func TestOptions(t *testing.T) {
	uuid := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	path := image(t, 100<<20, Options{Label: "sixteen bytes ok", UUID: uuid, Inodes: 30000, Fresh: true, Time: time.Unix(1700000000, 0)})
	e2fsck(t, path)
	info := tool(t, "dumpe2fs", "-h", path)
	for _, want := range []string{
		"Filesystem volume name:   sixteen bytes ok",
		"01020304-0506-0708-090a-0b0c0d0e0f10",
		"has_journal ext_attr resize_inode dir_index orphan_file filetype extent 64bit flex_bg metadata_csum_seed sparse_super large_file huge_file dir_nlink extra_isize metadata_csum",
		"Filesystem state:         clean",
		"Block size:               4096",
		"Flex block group size:    16",
		"Inode size:	          256",
		"Default directory hash:   half_md4",
		"Total journal size:       4096k",
		"Block count:              25600",
	} {
		if !strings.Contains(info, want) {
			t.Errorf("dumpe2fs does not say %q:\n%s", want, info)
		}
	}
	var s disk.Superblock
	readSuper(t, path, &s)
	if s.InodesCount < 30000 {
		t.Errorf("%d inodes", s.InodesCount)
	}
	path = image(t, 100<<20, Options{NoJournal: true, Fresh: true})
	e2fsck(t, path)
	if strings.Contains(tool(t, "dumpe2fs", "-h", path), "has_journal") {
		t.Error("there is a journal")
	}
	for _, o := range []Options{
		{BlockSize: 512}, {Reserved: 51}, {Reserved: -1}, {BytesPerInode: 100}, {JournalSize: 1 << 20}, {JournalSize: 60 << 20}, {JournalSize: -1},
		{BlockSize: 3000}, {BlockSize: 8192}, {Label: "seventeen bytes !"}, {Inodes: 1 << 40}, {Inodes: 1 << 31},
		{Files: []File{{Path: "relative"}}}, {Files: []File{{Path: "/a/../b"}}}, {Files: []File{{Path: "/"}}},
		{Files: []File{{Path: "/a"}, {Path: "/a/b"}}}, {Files: []File{{Path: "/a"}, {Path: "/a"}}},
		{Files: []File{{Path: "/" + strings.Repeat("n", 256)}}}, {Files: []File{{Path: "/a", Mode: abi.S_IFIFO}}},
		{Files: []File{{Path: "/a", Content: make([]byte, 101<<20)}}}, {Files: []File{{Path: "/a", Mode: abi.S_IFLNK}}},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "image"))
		if err != nil {
			t.Fatal(err)
		}
		f.Truncate(100 << 20)
		d, _ := filedev.New(f)
		if err := Format(d, o); err == nil {
			t.Errorf("%.200v accepted", fmt.Sprint(o))
		}
		f.Close()
	}
}

func readSuper(t testing.TB, path string, s *disk.Superblock) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, disk.SuperblockSize)
	if _, err := f.ReadAt(p, disk.SuperblockOffset); err != nil {
		t.Fatal(err)
	}
	if err := s.Decode(p); err != nil {
		t.Fatal(err)
	}
}

// TestFiles reads back, with debugfs, what is put in.
func TestFiles(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			big := make([]byte, 20<<20+12345)
			for i := range big {
				big[i] = byte(i * 7 >> 3)
			}
			files := []File{
				{Path: "/etc", Mode: abi.S_IFDIR | 0o711},
				{Path: "/etc/motd", Mode: 0o640, UID: 1000, GID: 70000, Content: []byte("hello\n"), Time: time.Unix(1600000000, 0)},
				{Path: "/bin/app", Mode: 0o4755, Content: big},
				{Path: "/bin/sh", Mode: abi.S_IFLNK | 0o777, Content: []byte("app")},
				{Path: "/long", Mode: abi.S_IFLNK | 0o777, Content: bytes.Repeat([]byte("x/"), 200)},
				{Path: "/empty", Mode: abi.S_IFREG | 0o600},
				{Path: "/", Mode: abi.S_IFDIR | 0o1777},
			}
			for i := range 3000 {
				files = append(files, File{Path: fmt.Sprintf("/many/%d%s", i, strings.Repeat("n", i%100)), Mode: 0o644, Content: []byte(fmt.Sprint(i))})
			}
			path := image(t, 64<<20, Options{BlockSize: bs, Fresh: true, Files: files})
			e2fsck(t, path)
			dump := filepath.Join(t.TempDir(), "dump")
			tool(t, "debugfs", "-R", "dump /bin/app "+dump, path)
			got, err := os.ReadFile(dump)
			if err != nil || !bytes.Equal(got, big) {
				t.Errorf("/bin/app differs: %v, %d bytes", err, len(got))
			}
			if out := tool(t, "debugfs", "-R", "cat /etc/motd", path); !strings.Contains(out, "hello\n") {
				t.Errorf("/etc/motd: %s", out)
			}
			for what, want := range map[string][]string{
				"/etc/motd":                            {"Type: regular    Mode:  0640", "User:  1000   Group: 70000", "Size: 6"},
				"/etc":                                 {"Type: directory    Mode:  0711"},
				"/bin":                                 {"Type: directory    Mode:  0755", "User:     0"},
				"/bin/app":                             {"Mode:  04755"},
				"/bin/sh":                              {"Type: symlink", `Fast link dest: "app"`},
				"/long":                                {"Type: symlink", "Size: 400"},
				"/":                                    {"Mode:  01777"},
				"/many/2999" + strings.Repeat("n", 99): {"Size: 4"},
			} {
				out := tool(t, "debugfs", "-R", "stat "+what, path)
				for _, w := range want {
					if !strings.Contains(out, w) {
						t.Errorf("%s: no %q in\n%s", what, w, out)
					}
				}
			}
		})
	}
}

// BenchmarkFormat is the start of a program without an image.
func BenchmarkFormat(b *testing.B) {
	f, err := os.Create(filepath.Join("/dev/shm", "pinhole-mkfs-bench"))
	if err != nil {
		b.Skip(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	app := make([]byte, 100<<10)
	b.ReportAllocs()
	for b.Loop() {
		f.Truncate(0)
		f.Truncate(64 << 20)
		d, err := filedev.New(f)
		if err != nil {
			b.Fatal(err)
		}
		if err := Format(d, Options{Fresh: true, Files: []File{{Path: "/bin/app", Mode: 0o755, Content: app}}}); err != nil {
			b.Fatal(err)
		}
	}
}
