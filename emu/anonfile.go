package emu

import (
	"sync"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Names of the files of the kernel's own that have no name and no content in the tree, as a link of
// /proc/PID/fd shows them.
const (
	anonEventQueue = "anon_inode:[eventpoll]"
	anonEventFD    = "anon_inode:[eventfd]"
	anonSignalFD   = "anon_inode:[signalfd]"
	anonTimerFD    = "anon_inode:[timerfd]"
)

// anonFiles keeps the one node that all such files of a name share.
type anonFiles struct {
	mu       sync.Mutex
	dentries map[string]*vfs.Dentry // held
}

// anonFileNode is such a node: of no type, and nothing can be opened by way of it.
type anonFileNode struct{ anonNode }

func (n *anonFileNode) reopen(_ *Task, dentry *vfs.Dentry, _ mode, _ uint32) (*description, abi.Errno) {
	dentry.Unref()
	return nil, abi.ENXIO
}

// anonDentry returns the dentry that files of a name share, with a reference.
func (k *Kernel) anonDentry(name string) *vfs.Dentry {
	a := &k.io.anon
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.dentries[name]
	if d == nil {
		n := &anonFileNode{}
		k.initNode(&n.anonNode, 0o600, 0, 0)
		d = k.ns.NewAnonymous(n, name, anonDev)
		if a.dentries == nil {
			a.dentries = make(map[string]*vfs.Dentry)
		}
		a.dentries[name] = d
	}
	d.Ref()
	return d
}

// openAnon opens the lowest free descriptor on a file of the kernel's own, which can be read and
// written as far as the kind goes. flags may have O_NONBLOCK and O_CLOEXEC.
func (t *Task) openAnon(name string, file openFile, flags uint32) (uint64, abi.Errno) {
	d, errno := t.kernel.newDescription(t.kernel.anonDentry(name), file, modeRead|modeWrite, abi.O_RDWR|flags&abi.O_NONBLOCK)
	if errno != 0 {
		return 0, errno
	}
	return t.addFile(d, flags&abi.O_CLOEXEC != 0)
}

// anonFile is what such files have in common: most requests and transfers mean nothing to them.
type anonFile struct{}

func (anonFile) read(*Task, *description, int64, int, vfs.Dest) (int, abi.Errno) {
	return 0, abi.EINVAL
}

func (anonFile) write(*Task, *description, int64, int, vfs.Source) (int, int64, abi.Errno) {
	return 0, 0, abi.EINVAL
}

func (anonFile) ioctl(*Task, *description, uint32, uint64) (uint64, abi.Errno) {
	return 0, abi.ENOTTY
}

func (anonFile) release(*description) {}
