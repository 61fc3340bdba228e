package ext4

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
	"pinhole/tests/harness"
)

// TestOrphans takes images away while files are open that have no name, and files are being
// truncated. The next mount deletes and truncates, and so does e2fsck.
func TestOrphans(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []string
	}{
		{"list", []string{"-b", "1024"}},
		{"file", []string{"-b", "4096", "-O", "orphan_file"}},
		{"small file", []string{"-b", "1024", "-O", "orphan_file", "-E", "orphan_file_size=4096"}},
		{"file without checksums", []string{"-b", "1024", "-O", "orphan_file,^metadata_csum"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := mkfs(t, "64M", tt.opts...)
			fs, dev := mount(t, img, true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour})
			free := fs.freeInodes.Load()
			root := fs.Root()
			var open []vfs.Node
			for i := range 1300 { // more than a small orphan file has room for
				name := fmt.Sprint(i)
				mode := uint32(abi.S_IFREG | 0o644)
				if i%10 == 9 {
					mode = abi.S_IFDIR | 0o755
				}
				n := create(t, root, name, mode)
				if i%10 == 9 {
					root.Rmdir(name)
				} else {
					n.Write(0, 5000, &copySource{make([]byte, 5000)})
					root.Unlink(name)
				}
				if i%3 == 0 {
					n.Unref()
				} else {
					open = append(open, n)
				}
			}
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			crashed := dev.Image()
			for i, n := range open { // in an order that takes them out of the middle
				if i%2 == 0 {
					n.Unref()
				}
			}
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			images := [][]byte{crashed, dev.Image()}
			for _, img := range images {
				path := filepath.Join(t.TempDir(), "image")
				writeSparse(t, path, img)
				// e2fsck -p leaves the orphan file's slots as they are, up to 1.47.0 at least.
				out, err := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-fy", path).CombinedOutput()
				if x, ok := err.(*exec.ExitError); err != nil && (!ok || x.ExitCode() > 1) {
					t.Errorf("e2fsck -fy: %v\n%s", err, out)
				}
				if out, err := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-fn", path).CombinedOutput(); err != nil {
					t.Errorf("e2fsck -fn: %v\n%s", err, out)
				}
				said := ""
				again, d := mount(t, img, true, Options{Log: func(format string, args ...any) { said += fmt.Sprintf(format, args...) }})
				if !strings.Contains(said, "orphans") {
					t.Errorf("mount says %q", said)
				}
				if got := again.freeInodes.Load(); got != free {
					t.Errorf("%d inodes are free, should be %d", got, free)
				}
				if e := again.Unmount(); e != 0 {
					t.Error(e)
				}
				fsck(t, d.Content())
			}
			root.Unref()
			if e := fs.Unmount(); e != 0 { // with the other half still open
				t.Fatal(e)
			}
			fsck(t, dev.Content())
			var sb disk.Superblock
			sb.Decode(dev.Content()[disk.SuperblockOffset:])
			if sb.LastOrphan != 0 || sb.HasROCompat(disk.ROCompatOrphanPresent) {
				t.Errorf("orphans after unmount: list %d, features %#x", sb.LastOrphan, sb.FeatureROCompat)
			}
		})
	}
}

// TestOrphanCrash cuts the processing of orphans at mount short, again and again.
func TestOrphanCrash(t *testing.T) {
	for _, opts := range [][]string{{"-b", "1024"}, {"-b", "1024", "-O", "orphan_file"}} {
		img := mkfs(t, "32M", opts...)
		fs, dev := mount(t, img, true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour})
		root := fs.Root()
		free := fs.freeInodes.Load()
		for i := range 30 {
			n := create(t, root, fmt.Sprint(i), abi.S_IFREG|0o644)
			for k := range int64(30) {
				n.Write(k*9000, 3000, &copySource{make([]byte, 3000)})
			}
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			root.Unlink(fmt.Sprint(i))
		}
		if e := fs.Sync(); e != 0 {
			t.Fatal(e)
		}
		first := dev.Image()
		again, d := faultMount(t, first)
		again.Unmount()
		events := d.Recorded()
		for n := 0; n < events; n += max(events/25, 1) {
			next, d := mount(t, d.Crash(n, nil), true, Options{Log: func(string, ...any) {}})
			if got := next.freeInodes.Load(); got != free {
				t.Errorf("event %d of %d: %d inodes are free, should be %d", n, events, got, free)
			}
			if e := next.Unmount(); e != 0 {
				t.Errorf("event %d of %d: %v", n, events, e)
			}
			fsck(t, d.Content())
		}
		fs.Unmount()
	}
}

// faultMount mounts an image and records what the mount writes. Each step is committed.
func faultMount(t *testing.T, img []byte) (*FS, *faultdev.Device) {
	t.Helper()
	d := faultdev.New(img)
	d.Record = true
	fs, err := Mount(faultdev.Mapped{Device: d}, Options{FlushAfter: time.Nanosecond, CommitEvery: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	return fs, d
}

// TestStaleOrphanFile mounts an image whose orphans e2fsck -p has deleted without telling the
// orphan file.
func TestStaleOrphanFile(t *testing.T) {
	img := mkfs(t, "32M", "-b", "4096", "-O", "orphan_file")
	fs, dev := mount(t, img, true, Options{})
	root := fs.Root()
	for i := range 10 {
		create(t, root, fmt.Sprint(i), abi.S_IFREG|0o644)
		root.Unlink(fmt.Sprint(i))
	}
	fs.Sync()
	path := filepath.Join(t.TempDir(), "image")
	writeSparse(t, path, dev.Image())
	fs.Unmount()
	exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-p", path).Run()
	img, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, present := range []bool{false, true} {
		img := cloneSparse(img)
		if present {
			changeSuper(img, func(sb *disk.Superblock) { sb.FeatureROCompat |= disk.ROCompatOrphanPresent })
		}
		fs, dev := mount(t, img, true, Options{})
		if e := fs.Unmount(); e != 0 {
			t.Fatal(e)
		}
		fsck(t, dev.Content())
	}
}

// TestHostileOrphans mounts lists that lead nowhere, to themselves, or to what is in use.
func TestHostileOrphans(t *testing.T) {
	base := mkfs(t, "8M", "-b", "1024", "-O", "^metadata_csum,^has_journal")
	for name, change := range map[string]func(img []byte, sb *disk.Superblock, inode func(ino uint32) []byte){
		"free inode": func(_ []byte, sb *disk.Superblock, _ func(uint32) []byte) { sb.LastOrphan = 20 },
		"no inode":   func(_ []byte, sb *disk.Superblock, _ func(uint32) []byte) { sb.LastOrphan = 1 << 30 },
		"root":       func(_ []byte, sb *disk.Superblock, _ func(uint32) []byte) { sb.LastOrphan = 2 },
		"resize":     func(_ []byte, sb *disk.Superblock, _ func(uint32) []byte) { sb.LastOrphan = 7 },
		"self": func(_ []byte, sb *disk.Superblock, f func(uint32) []byte) {
			sb.LastOrphan = 11
			le.PutUint32(f(11)[20:], 11)
		},
		"not deleted": func(_ []byte, sb *disk.Superblock, f func(uint32) []byte) {
			sb.LastOrphan = 11
			le.PutUint32(f(11)[20:], 12)
		},
	} {
		img := cloneSparse(base)
		var g disk.Group
		g.Decode(img[2048:][:64])
		changeSuper(img, func(sb *disk.Superblock) {
			change(img, sb, func(ino uint32) []byte { return img[int(g.InodeTable)*1024+int(ino-1)*256:] })
		})
		fs, err := Mount(faultdev.New(img), Options{})
		if err == nil {
			t.Errorf("%s: mounted", name)
			fs.Unmount()
		} else if errno(err) != abi.EUCLEAN {
			t.Errorf("%s: %v", name, err)
		}
	}
}
