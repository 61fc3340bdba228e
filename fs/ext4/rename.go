package ext4

import (
	"errors"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Rename implements vfs.Node.
func (n *inode) Rename(name string, newDir vfs.Node, newName string, flags uint32) abi.Errno {
	to, ok := newDir.(*inode)
	if !ok || to.fs != n.fs {
		return abi.EXDEV
	}
	if err := n.checkDir(name); err != nil {
		return errno(err)
	}
	if err := to.checkDir(newName); err != nil {
		return errno(err)
	}
	if flags&^(abi.RENAME_NOREPLACE|abi.RENAME_EXCHANGE) != 0 {
		return abi.EINVAL
	}
	return errno(n.fs.retryFull(func() error {
		for written := false; ; written = true {
			r := rename{fs: n.fs, from: n, to: to, name: name, newName: newName, flags: flags, written: written}
			n.fs.nsMu.Lock()
			err := r.run()
			n.fs.nsMu.Unlock()
			if err == errWriteFirst {
				r.moved.writeback() // an error is kept for the file's next fsync
			}
			// What was replaced is deleted without the locks.
			r.moved.release()
			r.old.release()
			if err != errWriteFirst {
				return err
			}
		}
	}))
}

// release gives back a reference, if there is one.
func (n *inode) release() {
	if n != nil {
		n.Unref()
	}
}

// errWriteFirst says that the content of a file that is about to replace another one has to be written
// first: many programs write a new file and rename it over the old one, and expect after a crash either
// the one content or the other, as Linux's auto_da_alloc gives it to them.
var errWriteFirst = errors.New("content to be written before a rename")

// rename is a Rename under way.
type rename struct {
	fs            *FS
	from, to      *inode
	name, newName string
	flags         uint32
	written       bool   // the content of what is moved was written lately
	moved, old    *inode // with references; old is what has the new name, or nil
	src, dst      dirPos
	slot          slot // for the new name, if nothing has it
}

func (r *rename) run() error {
	// Only under the namespace lock does anybody hold two directories, so any order will do.
	r.from.mu.Lock()
	defer r.from.mu.Unlock()
	if r.to != r.from {
		r.to.mu.Lock()
		defer r.to.mu.Unlock()
	}
	defer func() {
		r.fs.buffers.put(r.src.b)
		r.fs.buffers.put(r.dst.b)
		r.slot.release(r.fs)
	}()
	if err := r.find(); err != nil {
		return err
	}
	if r.moved == r.old {
		return nil
	}
	if err := r.check(); err != nil {
		return err
	}
	if r.old != nil && r.flags == 0 && !r.written && r.moved.pages.unplaced() {
		return errWriteFirst
	}
	r.moved.mu.Lock()
	defer r.moved.mu.Unlock()
	if r.old != nil {
		r.old.mu.Lock()
		defer r.old.mu.Unlock()
		if r.flags&abi.RENAME_EXCHANGE == 0 && r.old.isDir() {
			if empty, err := r.old.isEmpty(); err != nil {
				return err
			} else if !empty {
				return abi.ENOTEMPTY
			}
		}
	}
	return r.change()
}

// find looks both names up.
func (r *rename) find() error {
	var err error
	if r.src, err = r.from.find(r.name); err != nil {
		return err
	}
	if r.dst, err = r.to.look(r.newName, &r.slot); err != nil {
		return err
	}
	switch {
	case r.dst.b != nil && r.flags&abi.RENAME_NOREPLACE != 0:
		return abi.EEXIST
	case r.dst.b == nil && r.flags&abi.RENAME_EXCHANGE != 0:
		return abi.ENOENT
	}
	if r.moved, err = r.fs.igetEntry(r.from, r.src.ino()); err != nil {
		return err
	}
	if r.dst.b != nil {
		r.old, err = r.fs.igetEntry(r.to, r.dst.ino())
	}
	return err
}

// check applies the rules on what may replace what.
func (r *rename) check() error {
	if r.moved == r.to {
		return abi.EINVAL // a directory into itself
	}
	if r.old == r.from {
		return abi.ENOTEMPTY
	}
	exchange := r.flags&abi.RENAME_EXCHANGE != 0
	switch {
	case r.old == nil:
		if r.moved.isDir() && r.to != r.from && r.to.linksFull() {
			return abi.EMLINK
		}
	case exchange:
		if r.moved.isDir() && !r.old.isDir() && r.to.linksFull() || r.old.isDir() && !r.moved.isDir() && r.from.linksFull() {
			return abi.EMLINK
		}
	case r.moved.isDir() && !r.old.isDir():
		return abi.ENOTDIR
	case !r.moved.isDir() && r.old.isDir():
		return abi.EISDIR
	}
	return nil
}

// change does it, with all locks held.
func (r *rename) change() error {
	fs := r.fs
	exchange := r.flags&abi.RENAME_EXCHANGE != 0
	// Directories that get another parent know it.
	var up, oldUp dirPos
	defer func() {
		fs.buffers.put(up.b)
		fs.buffers.put(oldUp.b)
	}()
	var err error
	if r.moved.isDir() && r.to != r.from {
		if up, err = r.moved.parentPos(); err != nil {
			return err
		}
	}
	if exchange && r.old.isDir() && r.to != r.from {
		if oldUp, err = r.old.parentPos(); err != nil {
			return err
		}
	}
	// Four inodes, two leaves, two "..", and what is replaced on the orphan list.
	credits := superCredits + 4*attrCredits + 4 + orphanCredits
	if r.old == nil {
		credits += r.to.putCredits(&r.slot)
		if err := fs.roomFor(r.to.putBlocks(&r.slot), true); err != nil {
			return err
		}
	}
	h, err := fs.begin(credits)
	if err != nil {
		return err
	}
	defer h.end()
	for _, n := range []*inode{r.from, r.to, r.moved, r.old} {
		if n != nil {
			if err := h.inode(n); err != nil {
				return err
			}
			n.touched(h, true)
		}
	}
	now := fs.now()
	switch {
	case exchange:
		r.from.setName(h, r.src, r.old.ino, r.old.mode.Load())
		r.to.setName(h, r.dst, r.moved.ino, r.moved.mode.Load())
		r.old.stamp(now, false)
	case r.old != nil:
		if err := fs.dropLink(h, r.old, now); err != nil {
			return err
		}
		if r.old.isDir() {
			r.old.removed = true
			r.to.dropDirLink()
		}
		r.to.setName(h, r.dst, r.moved.ino, r.moved.mode.Load())
		r.from.cutName(h, r.src)
	default:
		moves := r.slot.off < 0 // a leaf is split, or an index made
		if err := r.to.putName(h, &r.slot, r.newName, r.moved.ino, r.moved.mode.Load()); err != nil {
			return err
		}
		if err := r.findAgain(moves); err != nil {
			return err
		}
		r.from.cutName(h, r.src)
	}
	if up.b != nil {
		r.moved.setName(h, up, r.to.ino, abi.S_IFDIR)
		r.from.dropDirLink()
		r.to.addDirLink()
	}
	if oldUp.b != nil {
		r.old.setName(h, oldUp, r.from.ino, abi.S_IFDIR)
		r.to.dropDirLink()
		r.from.addDirLink()
	}
	r.moved.stamp(now, false)
	r.from.stamp(now, true)
	r.to.stamp(now, true)
	return nil
}

// findAgain finds the old name again after the new one was entered, which may have moved it: within
// its leaf, or, if moves is set, anywhere.
func (r *rename) findAgain(moves bool) error {
	if r.from != r.to || !moves && r.src.b != r.slot.b {
		return nil
	}
	if !moves {
		r.src.off, r.src.prev = findEntry(r.from.entries(r.src.b), r.name)
		if r.src.off >= 0 {
			return nil
		}
	}
	r.fs.buffers.put(r.src.b)
	var err error
	if r.src, err = r.from.find(r.name); err != nil {
		r.src = dirPos{}
		return r.fs.corruptInode(r.from.ino, "a name is lost while it is moved: %v", err)
	}
	return nil
}
