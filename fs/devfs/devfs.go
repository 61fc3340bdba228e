// Package devfs is the file system for /dev: the device nodes that programs expect, and the
// links to their own descriptors. What a node does when it is opened is the kernel's affair, which
// goes by the device number; the nodes would work on any file system.
//
// It is kept in memory and can be written to, as devtmpfs can.
package devfs

import (
	"pinhole/abi"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// FS is a file system for /dev.
type FS struct{ *memfs.FS }

// TypeName implements vfs.Typed.
func (FS) TypeName() string { return "devtmpfs" }

// devices are the nodes there are: all may be used by everybody (null(4), random(4), full(4), tty(4)).
var devices = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3},
	{"zero", 1, 5},
	{"full", 1, 7},
	{"random", 1, 8},
	{"urandom", 1, 9},
	{"tty", 5, 0},
}

// links are the symbolic links (fd(4)).
var links = []struct{ name, target string }{
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
}

// limit bounds what guests may put into /dev besides, in bytes.
const limit = 4 << 20

// New makes the file system. It has an empty directory shm, for another file system in memory
// to be mounted on.
func New() FS {
	fs := FS{memfs.New(limit)}
	root := fs.Root()
	defer root.Unref()
	for _, d := range devices {
		must(root.Create(d.name, &vfs.NewNode{Mode: abi.S_IFCHR | 0o666, Rdev: abi.Makedev(d.major, d.minor)}))
	}
	for _, l := range links {
		must(root.Symlink(l.name, l.target, &vfs.NewNode{Mode: abi.S_IFLNK | 0o777}))
	}
	must(root.Create("shm", &vfs.NewNode{Mode: abi.S_IFDIR | abi.S_ISVTX | 0o777}))
	return fs
}

// must takes the result of a creation that nothing can go wrong with.
func must(n vfs.Node, errno abi.Errno) {
	if errno != 0 {
		panic("devfs: " + errno.Error())
	}
	n.Unref()
}
