package vfs

import "pinhole/abi"

// Rename moves a name, under the rules of renameat2(2); flags are RENAME_NOREPLACE and
// RENAME_EXCHANGE (others: EINVAL).
func (ns *Namespace) Rename(c *Context, oldAt *Dentry, oldPath string, newAt *Dentry, newPath string, flags uint32) abi.Errno {
	if flags&^(abi.RENAME_NOREPLACE|abi.RENAME_EXCHANGE) != 0 ||
		flags == abi.RENAME_NOREPLACE|abi.RENAME_EXCHANGE {
		return abi.EINVAL
	}
	var from, to walk
	defer from.done()
	defer to.done()
	if e := from.from(ns, c, oldAt, oldPath); e != 0 {
		return e
	}
	if e := from.toParent(oldPath); e != 0 {
		return e
	}
	if e := to.from(ns, c, newAt, newPath); e != 0 {
		return e
	}
	if e := to.toParent(newPath); e != 0 {
		return e
	}
	switch {
	case from.cur.mnt != to.cur.mnt:
		return abi.EXDEV
	case from.end != endName:
		return abi.EBUSY
	case to.end != endName && flags&abi.RENAME_NOREPLACE != 0:
		return abi.EEXIST
	case to.end != endName:
		return abi.EBUSY
	case from.cur.readOnly():
		return abi.EROFS
	}
	r := rename{ns: ns, c: c, from: &from, to: &to, flags: flags}
	r.lock()
	e := r.do()
	r.unlock()
	// What was replaced may be freed now, without the locks.
	r.src.unref()
	r.dst.unref()
	return e
}

// rename is a Rename under way.
type rename struct {
	ns       *Namespace
	c        *Context
	from, to *walk
	flags    uint32
	src, dst optionalDentry
}

type optionalDentry struct{ *Dentry }

func (o optionalDentry) unref() {
	if o.Dentry != nil {
		o.Unref()
	}
}

// lock takes the locks of both directories: the one above the other first, otherwise in order
// of their numbers, which is safe as only one rename at a time holds two.
func (r *rename) lock() {
	a, b := r.from.cur, r.to.cur
	if a == b {
		a.mu.Lock()
		return
	}
	r.ns.moving.Lock()
	if below(a, b) || !below(b, a) && a.salt > b.salt {
		a, b = b, a
	}
	a.mu.Lock()
	b.mu.Lock()
}

func (r *rename) unlock() {
	a, b := r.from.cur, r.to.cur
	a.mu.Unlock()
	if a != b {
		b.mu.Unlock()
		r.ns.moving.Unlock()
	}
}

// below tells whether d is top or somewhere below it, in the same mount.
func below(d, top *Dentry) bool {
	for ; d != nil; d = d.at.Load().parent {
		if d == top {
			return true
		}
	}
	return false
}

// do checks and renames, with the locks held.
func (r *rename) do() abi.Errno {
	from, to := r.from.cur, r.to.cur
	src, e := r.ns.lookupLocked(from, r.from.name)
	if e != 0 {
		return e
	}
	r.src.Dentry = src
	if src.node == nil {
		return abi.ENOENT
	}
	dst, e := r.ns.lookupLocked(to, r.to.name)
	if e != 0 {
		return e
	}
	r.dst.Dentry = dst
	exchange := r.flags&abi.RENAME_EXCHANGE != 0
	replace := dst.node != nil && !exchange

	switch {
	case dst.node != nil && r.flags&abi.RENAME_NOREPLACE != 0:
		return abi.EEXIST
	case dst.node == nil && exchange:
		return abi.ENOENT
	case exchange && r.to.slash && dst.typ != abi.S_IFDIR:
		return abi.ENOTDIR
	case src.typ != abi.S_IFDIR && (r.from.slash || r.to.slash && !exchange):
		return abi.ENOTDIR
	case below(to, src):
		return abi.EINVAL
	case dst.node != nil && below(from, dst):
		if exchange {
			return abi.EINVAL
		}
		return abi.ENOTEMPTY
	}
	if dst.node != nil && (src.node == dst.node || src.node.Ino() == dst.node.Ino()) {
		return 0 // two names of one file: nothing happens, as POSIX wants it
	}
	if e := r.permitted(src, dst, exchange); e != 0 {
		return e
	}
	if src.busy() || dst.node != nil && dst.busy() {
		return abi.EBUSY
	}
	if replace && dst.typ == abi.S_IFDIR {
		dst.mu.Lock()
		defer dst.mu.Unlock()
		if dst.has(dentrySynthetic) {
			return abi.ENOTEMPTY
		}
	}
	if e := from.node.Rename(r.from.name, to.node, r.to.name, r.flags); e != 0 {
		return e
	}
	r.moved(src, dst, exchange)
	return 0
}

// permitted checks c's rights.
func (r *rename) permitted(src, dst *Dentry, exchange bool) abi.Errno {
	from, to := r.from.cur, r.to.cur
	if e := r.c.mayDelete(from, src, src.typ == abi.S_IFDIR); e != 0 {
		return e
	}
	var e abi.Errno
	switch {
	case dst.node == nil:
		e = r.c.mayWrite(to, abi.W_OK|abi.X_OK)
	case exchange:
		e = r.c.mayDelete(to, dst, dst.typ == abi.S_IFDIR)
	default:
		e = r.c.mayDelete(to, dst, src.typ == abi.S_IFDIR)
	}
	if e != 0 || from == to {
		return e
	}
	// A directory that gets another parent has its ".." rewritten.
	if src.typ == abi.S_IFDIR {
		if e := r.c.permit(src, abi.W_OK); e != 0 {
			return e
		}
	}
	if exchange && dst.typ == abi.S_IFDIR {
		return r.c.permit(dst, abi.W_OK)
	}
	return 0
}

// moved brings the cache up to date.
func (r *rename) moved(src, dst *Dentry, exchange bool) {
	c := &r.ns.cache
	from, to := r.from.cur, r.to.cur
	if exchange || dst.node == nil && !dst.has(dentryUnhashed) {
		// A negative dentry says from now on that the old name does not exist.
		c.move(dst, from, r.from.name)
		c.move(src, to, r.to.name)
		return
	}
	c.remove(dst, true)
	c.move(src, to, r.to.name)
	if dst.typ == abi.S_IFDIR {
		c.forget(dst)
	}
	if !from.mnt.transient {
		if n, e := c.create(from, r.from.name, nil, false); e == 0 {
			n.Unref()
		}
	}
}
