package vfs

import (
	"sync"
	"sync/atomic"

	"pinhole/abi"
)

// Dentry is a place in the tree: a name in a directory, and the node found there. It is what
// open files, working directories and roots hold on to.
//
// A Dentry that is held stays what it is when its name is moved or removed. The cache also
// knows names that do not exist (negative dentries); callers never get one.
type Dentry struct {
	// refs counts the holders: users, and one for each child in memory. A dentry without
	// holders stays in the cache until it is evicted or its name goes. Far below zero: dead.
	refs  atomic.Int32
	flags atomic.Uint32
	typ   uint32 // S_IFMT bits of the node, 0: negative
	salt  uint64 // makes hashes of the same name differ between directories; unique, orders locks

	node Node // nil: negative
	mnt  *mount
	// at is where the dentry is. It is replaced as a whole when the name moves, so that
	// parent and name are always seen together.
	at    atomic.Pointer[place]
	first place // the first value of at

	mounted atomic.Pointer[mount]  // what covers this directory
	target  atomic.Pointer[string] // of a symbolic link, once read

	// mu serialises changes of and slow lookups in a directory.
	mu sync.Mutex

	// Guarded by cache.mu.
	child, next, prev *Dentry // children in memory
	newer, older      *Dentry // order of eviction
}

// place is a name in a directory: an entry of the cache's table.
type place struct {
	d      *Dentry
	parent *Dentry // nil: root of a mount, or without a place
	name   string
	hash   uint64
	next   atomic.Pointer[place]
}

// Bits of Dentry.flags.
const (
	dentryUsed      = 1 << iota // found since eviction last came by
	dentryUnhashed              // not in the table: dies with its last holder
	dentryRemoved               // the name is gone
	dentryPinned                // a mount point that exists in memory only
	dentrySynthetic             // a directory with pinned children
	dentryLinkable              // never had a name, and may get one: see TmpMaker
)

const dead = -1 << 30

// Ref takes another reference for somebody who got d from one who has one.
func (d *Dentry) Ref() { d.refs.Add(1) }

// tryRef takes a reference to a dentry found without one. It fails if d has died.
func (d *Dentry) tryRef() bool {
	if d.refs.Add(1) > 0 {
		if d.flags.Load()&dentryUsed == 0 {
			d.flags.Or(dentryUsed)
		}
		return true
	}
	d.refs.Add(-1)
	return false
}

// Unref gives a reference back. If it was the last of a removed file, the file system frees
// the file, which may take a while.
func (d *Dentry) Unref() {
	for d != nil && d.refs.Add(-1) == 0 && d.flags.Load()&dentryUnhashed != 0 && d.refs.CompareAndSwap(0, dead) {
		// The parent loses a child, and may have waited for that.
		parent := d.at.Load().parent
		if parent != nil {
			d.mnt.ns.cache.orphan(d, parent)
		}
		if d.node != nil {
			d.node.Unref()
		}
		d = parent
	}
}

// Node returns what is found here. It needs no Unref of its own: it lives as long as d is held.
func (d *Dentry) Node() Node { return d.node }

// FS returns the file system that d is on; nil for one from NewAnonymous.
func (d *Dentry) FS() FileSystem { return d.mnt.fs }

// IsDir tells whether this is a directory.
func (d *Dentry) IsDir() bool { return d.typ == abi.S_IFDIR }

// Removed tells whether the name is gone while somebody still holds the file or directory.
func (d *Dentry) Removed() bool { return d.flags.Load()&dentryRemoved != 0 }

// MountID tells mounts apart, for statx(2).
func (d *Dentry) MountID() uint64 { return d.mnt.dev }

// IsMountRoot tells whether this is the root of a mount.
func (d *Dentry) IsMountRoot() bool { return d == d.mnt.root }

// Attr is Node.Attr with the mount's device filled in.
func (d *Dentry) Attr(a *Attr) abi.Errno {
	e := d.node.Attr(a)
	a.Dev = d.mnt.dev
	return e
}

func (d *Dentry) has(bits uint32) bool { return d.flags.Load()&bits != 0 }

func (d *Dentry) readOnly() bool { return d.mnt.fs == nil || d.mnt.fs.ReadOnly() }

// busy tells whether the name must stay because something is mounted there.
func (d *Dentry) busy() bool { return d.mounted.Load() != nil || d.has(dentryPinned) }

// cross goes down from a covered directory to the root of what covers it, without reference.
func (d *Dentry) cross() *Dentry {
	for m := d.mounted.Load(); m != nil; m = d.mounted.Load() {
		d = m.root
	}
	return d
}

// NewAnonymous returns a dentry, with one reference, for a node that has no place in any file
// system, such as a pipe, so that open files are all alike. It takes over the caller's reference
// to node. PathTo shows it as name ("pipe:[12]"), Attr with device dev.
func (ns *Namespace) NewAnonymous(node Node, name string, dev uint64) *Dentry {
	d := &Dentry{node: node, typ: node.Mode() & abi.S_IFMT, mnt: &mount{ns: ns, dev: dev}}
	d.first.d, d.first.name = d, name
	d.at.Store(&d.first)
	d.flags.Store(dentryUnhashed)
	d.refs.Store(1)
	return d
}
