package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// listing is a getdents64 under way.
type listing struct {
	addr  abi.Addr // where the next record goes
	left  int      // room there
	done  int      // bytes written
	next  int64    // cookie behind the last record
	errno abi.Errno

	fault abi.Addr // not 0: memory there stopped it, and may be had: see guestDest.held
}

// maxDirTries is how often one getdents64 goes on after memory that was not there. A guest that gets less
// asks again.
const maxDirTries = 1024

// dirRead is getdents64(2).
func (t *Task) dirRead(fd int32, buf abi.Addr, n uint64) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if d.kind() != abi.S_IFDIR {
		return 0, abi.ENOTDIR
	}
	// The size is an unsigned int in Linux.
	size := int(min(uint64(uint32(n)), maxCount))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dentry.Removed() {
		return 0, abi.ENOENT
	}
	t.list = listing{addr: buf, left: size, next: d.pos}
	if t.emit == nil {
		t.emit = t.emitEntry
	}
	errno = t.kernel.ns.ReadDir(d.dentry, d.pos, t.emit)
	for l, tries := &t.list, 0; l.fault != 0 && tries < maxDirTries && t.kernel.mend(l.fault, true); tries++ {
		l.fault, l.errno = 0, 0
		errno = t.kernel.ns.ReadDir(d.dentry, l.next, t.emit)
	}
	d.pos = t.list.next
	if t.list.done > 0 {
		return uint64(t.list.done), 0
	}
	if errno == 0 {
		errno = t.list.errno
	}
	return 0, errno
}

// emitEntry writes one record; false: it has no room, or the guest's memory has ended.
func (t *Task) emitEntry(e *vfs.DirEntry) bool {
	l := &t.list
	if len(e.Name) > abi.NAME_MAX { // a file system that breaks its contract
		l.errno = abi.EIO
		return false
	}
	if abi.DirentLen(len(e.Name)) > l.left {
		l.errno = abi.EINVAL
		return false
	}
	n := abi.PutDirent(t.record[:], e.Ino, e.Cookie, e.Type, e.Name)
	if done, _ := guest.HeldCopyOut(l.addr, t.record[:n]); done < n {
		l.errno, l.fault = abi.EFAULT, l.addr+abi.Addr(done)
		return false
	}
	l.addr += abi.Addr(n)
	l.left -= n
	l.done += n
	l.next = e.Cookie
	return true
}
