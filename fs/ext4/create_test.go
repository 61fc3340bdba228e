package ext4

import (
	"fmt"
	"strings"
	"testing"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// tmpfile makes a file without a name.
func tmpfile(t testing.TB, dir vfs.Node, linkable bool, content string) vfs.Node {
	t.Helper()
	n, e := dir.(vfs.TmpMaker).Tmpfile(&vfs.NewNode{Mode: abi.S_IFREG | 0o600}, linkable)
	if e != 0 {
		t.Fatal(e)
	}
	m := vfs.Memory(content)
	if _, _, e := n.Write(0, len(content), &m); e != 0 {
		t.Fatal(e)
	}
	return n
}

func TestTmpfile(t *testing.T) {
	for _, kind := range []string{"1k", "nojournal", "orphan"} {
		t.Run(kind, func(t *testing.T) {
			img := mkfs(t, "16M", imageKinds[kind]...)
			fs, dev := mount(t, img, true, Options{})
			root := fs.Root()
			free := fs.freeInodes.Load()

			named := tmpfile(t, root, true, "named")
			hidden := tmpfile(t, root, false, "hidden")
			lost := tmpfile(t, root, true, "lost")
			var a vfs.Attr
			if e := named.Attr(&a); e != 0 || a.Nlink != 0 || a.Size != 5 {
				t.Errorf("attributes %+v, %v", a, e)
			}
			if e := root.Link("hidden", hidden); e != abi.ENOENT {
				t.Errorf("link of a file opened with O_EXCL: %v", e)
			}
			if e := root.Link("named", named); e != 0 {
				t.Fatal(e)
			}
			if e := root.Link("again", named); e != 0 {
				t.Fatal(e)
			}
			if e := named.Attr(&a); e != 0 || a.Nlink != 2 {
				t.Errorf("%d links, %v", a.Nlink, e)
			}
			// Once it has had a name it is a file as any other.
			other := tmpfile(t, root, true, "other")
			for i, e := range []abi.Errno{root.Link("other", other), root.Unlink("other")} {
				if e != 0 {
					t.Fatal(i, e)
				}
			}
			if e := root.Link("other", other); e != abi.ENOENT {
				t.Errorf("link of a file that has lost its name: %v", e)
			}
			other.Unref()

			// A crash now takes away what has no name.
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			crashed := dev.Image()
			after, _ := mount(t, crashed, true, Options{})
			r := after.Root()
			if got := names(t, r, 10); len(got) != 5 {
				t.Errorf("names after a crash: %v", got)
			}
			n, e := r.Lookup("named")
			if e != 0 || string(readAll(t, n)) != "named" {
				t.Errorf("the named file after a crash: %v", e)
			}
			n.Unref()
			r.Unref()
			if got := after.freeInodes.Load(); got != free-1 {
				t.Errorf("%d free inodes after a crash, want %d", got, free-1)
			}
			if e := after.Unmount(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, crashed)

			for _, n := range []vfs.Node{named, hidden, lost} {
				n.Unref()
			}
			if got := fs.freeInodes.Load(); got != free-1 {
				t.Errorf("%d free inodes, want %d", got, free-1)
			}
			d := create(t, root, "dir", abi.S_IFDIR|0o755)
			if e := root.Rmdir("dir"); e != 0 {
				t.Fatal(e)
			}
			if _, e := d.(vfs.TmpMaker).Tmpfile(&vfs.NewNode{Mode: abi.S_IFREG}, true); e != abi.ENOENT {
				t.Errorf("a file in a removed directory: %v", e)
			}
			d.Unref()
			root.Unref()
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Content())
		})
	}
}

// TestReservedBlocks fills the disk as somebody and goes on as root.
func TestReservedBlocks(t *testing.T) {
	img := mkfs(t, "8M", "-b", "1024", "-m", "10", "-N", "8192", "-O", "^has_journal")
	changeSuper(img, func(sb *disk.Superblock) { sb.DefResGID = 500 })
	fs, err := Mount(faultdev.New(img), Options{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	root := fs.Root()
	make := func(i int, uid, gid uint32) abi.Errno {
		n, e := root.Create(fmt.Sprint("dir", i), &vfs.NewNode{Mode: abi.S_IFDIR | 0o755, UID: uid, GID: gid})
		if e == 0 {
			n.Unref()
		}
		return e
	}
	i := 0
	for ; ; i++ {
		if e := make(i, 1000, 1000); e == abi.ENOSPC {
			break
		} else if e != 0 {
			t.Fatal(e)
		}
	}
	var s vfs.StatFS
	fs.StatFS(&s)
	if reserved := fs.sb.RBlocksCount; s.Bavail > 8 || s.Bfree < reserved || s.Bfree > reserved+8 || reserved < 700 {
		t.Errorf("%d blocks free, %d available, %d reserved, when the disk is full", s.Bfree, s.Bavail, reserved)
	}
	// What takes no block is still possible.
	if n, e := root.Symlink("link", "target", &vfs.NewNode{UID: 1000}); e == abi.ENOSPC {
		t.Log("the directory is full, too")
	} else if e != 0 {
		t.Error(e)
	} else {
		n.Unref()
	}
	for j := 0; ; j++ {
		n, e := root.Symlink(fmt.Sprint("long", j), strings.Repeat("x", 100), &vfs.NewNode{UID: 1000})
		if e == abi.ENOSPC {
			break
		}
		if e != 0 || j > 10 {
			t.Fatalf("long link %d: %v", j, e)
		}
		n.Unref()
	}
	if e := make(i, 1000, 500); e != 0 {
		t.Errorf("the group that has the reserve: %v", e)
	}
	if e := make(i+1, 0, 0); e != 0 {
		t.Errorf("root: %v", e)
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, img)
}

func TestFlags(t *testing.T) {
	img := mkfs(t, "8M", "-b", "1024")
	fs, dev := mount(t, img, true, Options{})
	root := fs.Root()
	d := create(t, root, "dir", abi.S_IFDIR|0o755)
	f := d.(vfs.FlagNode)
	want := uint32(disk.InodeExtents)
	if got := f.Flags(); got != want {
		t.Errorf("flags of a new directory: %#x", got)
	}
	want |= disk.InodeNoAtime | disk.InodeTopDir | disk.InodeAppend | disk.InodeDirSync
	if e := f.SetFlags(want); e != 0 {
		t.Fatal(e)
	}
	for _, no := range []uint32{want &^ disk.InodeExtents, want | disk.InodeJournalData, want | disk.InodeCasefold, want | disk.InodeHugeFile} {
		if e := f.SetFlags(no); e != abi.EOPNOTSUPP {
			t.Errorf("flags %#x: %v", no, e)
		}
	}
	file := create(t, d, "file", abi.S_IFREG|0o644)
	if got := file.(vfs.FlagNode).Flags(); got != disk.InodeExtents|disk.InodeNoAtime {
		t.Errorf("flags of a file in it: %#x", got)
	}
	if e := file.(vfs.FlagNode).SetFlags(disk.InodeExtents | disk.InodeDirSync); e != abi.EOPNOTSUPP {
		t.Errorf("a directory's flag for a file: %v", e)
	}
	sub := create(t, d, "sub", abi.S_IFDIR|0o755)
	if got := sub.(vfs.FlagNode).Flags(); got != disk.InodeExtents|disk.InodeNoAtime|disk.InodeDirSync {
		t.Errorf("flags of a directory in it: %#x", got)
	}
	for _, n := range []vfs.Node{sub, file, d, root} {
		n.Unref()
	}
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	path := fsck(t, dev.Content())
	if out := tool(t, "debugfs", "-R", "stat /dir", path); !strings.Contains(out, fmt.Sprintf("Flags: %#x", want)) {
		t.Errorf("debugfs shows\n%s", out)
	}
}
