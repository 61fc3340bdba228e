package vfs

import "pinhole/abi"

// Volatile is a FileSystem whose names come and go by themselves, as those of processes in
// /proc. Its names are not cached: every walk asks Lookup again. Nothing can be mounted on it
// but on its root.
type Volatile interface {
	FileSystem
	VolatileNames()
}

// Jumper is a symbolic link whose target depends on who follows it, or that leads to something
// that its text does not name (/proc/self, /proc/PID/fd/N).
type Jumper interface {
	Node
	// Target is the text as c sees it: what readlink shows.
	Target(c *Context) (string, abi.Errno)
	// Jump returns where the link leads, with a reference; nil: where the text says.
	Jump(c *Context) (*Dentry, abi.Errno)
}

// Typed is a FileSystem that has a name for /proc/mounts ("ext4"); others are shown as "none".
type Typed interface {
	FileSystem
	TypeName() string
}
