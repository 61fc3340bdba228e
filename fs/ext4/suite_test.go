package ext4

import (
	"testing"

	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
	"pinhole/fs/vfs/vfstest"
)

// suiteKinds are the images that the conformance suite runs on.
var suiteKinds = map[string][]string{
	"4k":     {"-b", "4096"},
	"1k":     {"-b", "1024"},
	"nocsum": {"-b", "2048", "-O", "^metadata_csum,^64bit"},
}

// TestSuite runs the conformance suite; e2fsck must be silent after every test.
func TestSuite(t *testing.T) {
	for name, opts := range suiteKinds {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "1k" {
				t.Skip("short test")
			}
			runSuite(t, mkfs(t, "96M", opts...), name != "1k")
		})
	}
}

// runSuite runs the conformance suite on copies of an empty image.
func runSuite(t *testing.T, empty []byte, mapped bool) {
	skip := map[string]string{}
	var sb disk.Superblock
	if err := sb.Decode(empty[disk.SuperblockOffset:]); err != nil {
		t.Fatal(err)
	}
	if sb.BlockSize() != pageSize {
		skip["script/content/data and holes"] = "expects holes of 4 KiB"
		skip["script/walk/readlink"] = "a link's target has to fit a block"
		skip["script/xattr/names and values"] = "attributes have to fit a block"
	}
	if sb.InodeSize == disk.GoodOldInodeSize {
		const why = "inodes without room for nanoseconds"
		for _, name := range []string{"script/attr/utimes", "script/remove/times", "script/xattr/set, get, list, remove", "differential"} {
			skip[name] = why
		}
	}
	if !sb.HasIncompat(disk.IncompatFiletype) {
		skip["readdir/types"], skip["differential"] = "directories without file types", "directories without file types"
	}
	devices := make(map[vfs.FileSystem]*faultdev.Device)
	vfstest.Run(t, vfstest.Options{
		Skip: skip,
		New: func(t testing.TB) vfs.FileSystem {
			fs, dev := mount(t, cloneSparse(empty), mapped, Options{})
			devices[fs] = dev
			t.Cleanup(func() {
				fsck(t, dev.Content())
				clear(devices)
			})
			return fs
		},
		Remount: func(t testing.TB, old vfs.FileSystem) vfs.FileSystem {
			if e := old.Unmount(); e != 0 {
				t.Fatalf("unmount: %v", e)
			}
			dev := devices[old]
			fsck(t, dev.Content())
			fs, err := Mount(faultdev.Mapped{Device: dev}, Options{Log: t.Logf})
			if err != nil {
				t.Fatal(err)
			}
			devices[fs] = dev
			return fs
		},
	})
}
