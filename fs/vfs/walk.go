package vfs

import (
	"strings"

	"pinhole/abi"
)

// Limits of paths, as on Linux.
const (
	NameMax  = 255  // bytes of one component
	PathMax  = 4095 // bytes of a path, without the NUL
	maxLinks = 40   // symbolic links followed in one walk
)

// How a path ends.
type ending uint8

const (
	endName   ending = iota // in a name
	endDot                  // in "."
	endDotDot               // in ".."
	endRoot                 // nowhere: "/"
)

// walk is a path walk under way, with references.
type walk struct {
	ns    *Namespace
	c     *Context
	cur   *Dentry // where the walk is; held
	links int     // symbolic links followed
	rest  rest

	// What toParent found of the last component.
	end   ending
	name  string
	slash bool // a slash follows: it has to be a directory
}

// rest is what is still to be walked behind symbolic links, the innermost last. It holds few of
// them in place, since a slice of its own storage would put the whole walk on the heap.
type rest struct {
	n    int
	few  [4]string
	more []string
}

func (r *rest) push(path string) {
	if r.n < len(r.few) {
		r.few[r.n] = path
	} else {
		r.more = append(r.more, path)
	}
	r.n++
}

func (r *rest) pop() string {
	if r.n--; r.n < len(r.few) {
		return r.few[r.n]
	}
	last := len(r.more) - 1
	path := r.more[last]
	r.more = r.more[:last]
	return path
}

// from sets up the walk of path, and returns it. done must follow, error or not.
func (w *walk) from(ns *Namespace, c *Context, at *Dentry, path string) abi.Errno {
	w.ns, w.c = ns, c
	if len(path) == 0 {
		return abi.ENOENT
	}
	if len(path) > PathMax {
		return abi.ENAMETOOLONG
	}
	if path[0] == '/' {
		at = ns.rootOf(c)
	} else if at == nil {
		at = ns.cwdOf(c)
	}
	at.Ref()
	w.cur = at
	return 0
}

func (w *walk) done() {
	if w.cur != nil {
		w.cur.Unref()
	}
}

// enter makes d, whose reference the walk takes over, the place where the walk is.
func (w *walk) enter(d *Dentry) {
	w.cur.Unref()
	w.cur = d
}

// toParent walks all of path but its last component, which it leaves in end, name and slash.
// cur is then a directory that may be searched.
func (w *walk) toParent(path string) abi.Errno {
	for start := true; ; {
		if start && strings.HasPrefix(path, "/") {
			root := w.ns.rootOf(w.c)
			root.Ref()
			w.enter(root)
		}
		start = false
		path = strings.TrimLeft(path, "/")
		if path == "" {
			if w.rest.n > 0 {
				path = w.rest.pop()
				continue
			}
			w.end, w.name, w.slash = endRoot, "", true
			return 0
		}
		name, tail := path, ""
		if i := strings.IndexByte(path, '/'); i >= 0 {
			name, tail = path[:i], path[i:]
		}
		if e := w.searchable(); e != 0 {
			return e
		}
		path = strings.TrimLeft(tail, "/")
		if path == "" && w.rest.n == 0 {
			w.end, w.name = endName, name
			switch name {
			case ".":
				w.end = endDot
			case "..":
				w.end = endDotDot
			}
			w.slash = w.slash || tail != ""
			return 0
		}

		switch name {
		case ".":
			continue
		case "..":
			w.enter(w.ns.up(w.c, w.cur))
			continue
		}
		d, e := w.ns.lookup(w.cur, name)
		if e != 0 {
			return e
		}
		switch d.typ {
		case 0:
			d.Unref()
			return abi.ENOENT
		case abi.S_IFDIR:
			w.enter(w.ns.cross(d))
		case abi.S_IFLNK:
			target, e := w.follow(d)
			if e != 0 {
				return e
			}
			if target != "" {
				if path != "" {
					w.rest.push(path)
				}
				path, start = target, true
			}
		default:
			d.Unref()
			return abi.ENOTDIR
		}
	}
}

// searchable checks that cur is a directory in which names may be looked up.
func (w *walk) searchable() abi.Errno {
	if w.cur.typ != abi.S_IFDIR {
		return abi.ENOTDIR
	}
	return w.c.permit(w.cur, abi.X_OK)
}

// follow gives back the reference to the symbolic link d and returns the text to walk from cur,
// or "" if the walk has jumped.
func (w *walk) follow(d *Dentry) (string, abi.Errno) {
	defer d.Unref()
	if w.links++; w.links > maxLinks {
		return "", abi.ELOOP
	}
	var target string
	var e abi.Errno
	if j, ok := d.node.(Jumper); ok {
		to, e := j.Jump(w.c)
		if e != 0 {
			return "", e
		}
		if to != nil {
			w.enter(to)
			return "", 0
		}
		target, e = j.Target(w.c)
		if e != 0 {
			return "", e
		}
	} else if target, e = d.readlink(); e != 0 {
		return "", e
	}
	if target == "" {
		return "", abi.ENOENT
	}
	if len(target) > PathMax {
		return "", abi.ENAMETOOLONG
	}
	return target, 0
}

// readlink returns a symbolic link's target, which never changes.
func (d *Dentry) readlink() (string, abi.Errno) {
	if t := d.target.Load(); t != nil {
		return *t, 0
	}
	text, e := d.node.Readlink()
	if e != 0 {
		return "", e
	}
	if !d.mnt.transient {
		d.target.Store(&text)
	}
	return text, 0
}

// last looks the last component up and returns it with a reference; it may be negative. If it is
// a symbolic link that is to be followed (or has a slash behind it), last walks on and changes
// cur, end and name accordingly. There is no name if the path ended otherwise (end).
func (w *walk) last(follow bool) (*Dentry, abi.Errno) {
	for {
		var d *Dentry
		var e abi.Errno
		switch w.end {
		case endName:
			d, e = w.ns.lookup(w.cur, w.name)
			if e != 0 {
				return nil, e
			}
			d = w.ns.cross(d)
		case endDotDot:
			d = w.ns.up(w.c, w.cur)
		default:
			d = w.cur
			d.Ref()
		}
		if d.typ != abi.S_IFLNK || !follow && !w.slash {
			return d, 0
		}
		target, e := w.follow(d)
		if e != 0 {
			return nil, e
		}
		if target == "" { // jumped
			w.end = endDot
			w.cur.Ref()
			return w.cur, 0
		}
		if e := w.toParent(target); e != 0 {
			return nil, e
		}
	}
}

// find walks path to what is there, which must exist.
func (w *walk) find(path string, follow bool) (*Dentry, abi.Errno) {
	if e := w.toParent(path); e != 0 {
		return nil, e
	}
	d, e := w.last(follow)
	if e != 0 {
		return nil, e
	}
	if e := w.exists(d); e != 0 {
		d.Unref()
		return nil, e
	}
	return d, 0
}

// exists checks what last returned.
func (w *walk) exists(d *Dentry) abi.Errno {
	switch {
	case d.node == nil:
		return abi.ENOENT
	case w.slash && d.typ != abi.S_IFDIR:
		return abi.ENOTDIR
	}
	return 0
}

// rootOf and cwdOf return where c's absolute and relative paths start, without a reference.
func (ns *Namespace) rootOf(c *Context) *Dentry {
	if c.Root != nil {
		return c.Root
	}
	return ns.root.cross()
}

func (ns *Namespace) cwdOf(c *Context) *Dentry {
	if c.Cwd != nil {
		return c.Cwd
	}
	return ns.rootOf(c)
}

// cross goes from d to what covers it, and takes its reference along.
func (ns *Namespace) cross(d *Dentry) *Dentry {
	to := d.cross()
	if to != d {
		to.Ref()
		d.Unref()
	}
	return to
}

// up returns the directory above d, with a reference: d itself at the root.
func (ns *Namespace) up(c *Context, d *Dentry) *Dentry {
	for {
		p := ns.above(ns.rootOf(c), d)
		if p.tryRef() {
			return p
		}
	}
}

// above is up without references. The dentry may be dead by the time it is returned, if it is
// moved just now.
func (ns *Namespace) above(root, d *Dentry) *Dentry {
	if d == root {
		return d
	}
	for at := d; ; {
		if p := at.at.Load().parent; p != nil {
			return p.cross()
		}
		if at.mnt.point == nil {
			return d
		}
		at = at.mnt.point
	}
}

// lookup returns the dentry of name in dir, with a reference; it may be negative.
func (ns *Namespace) lookup(dir *Dentry, name string) (*Dentry, abi.Errno) {
	if d := ns.cache.find(dir, name); d != nil && d.tryRef() {
		return d, 0
	}
	if len(name) > NameMax {
		return nil, abi.ENAMETOOLONG
	}
	dir.mu.Lock()
	defer dir.mu.Unlock()
	return ns.lookupLocked(dir, name)
}

// lookupLocked is lookup with dir.mu held. In a directory that has been removed every name is
// ENOENT, not negative: none can be made.
func (ns *Namespace) lookupLocked(dir *Dentry, name string) (*Dentry, abi.Errno) {
	if d := ns.cache.find(dir, name); d != nil && d.tryRef() {
		return d, 0
	}
	if len(name) > NameMax {
		return nil, abi.ENAMETOOLONG
	}
	if d := ns.cache.findSurely(dir, name); d != nil && d.tryRef() {
		return d, 0
	}
	if dir.Removed() {
		return nil, abi.ENOENT
	}
	node, e := dir.node.Lookup(name)
	if e != 0 && e != abi.ENOENT {
		return nil, e
	}
	if e != 0 {
		node = nil
	}
	return ns.cache.create(dir, name, node, dir.mnt.transient)
}

// fast walks path without locks or references, as far as it is cached and plain. It returns the
// dentry, which may be dead by now; or nil, and ENOENT if the path is known not to exist, or 0
// if the slow walk must find out.
func (ns *Namespace) fast(c *Context, at *Dentry, path string, follow bool) (*Dentry, abi.Errno) {
	if len(path) == 0 || len(path) > PathMax {
		return nil, 0
	}
	root := ns.rootOf(c)
	d := at
	if path[0] == '/' {
		d = root
	} else if d == nil {
		d = ns.cwdOf(c)
	}
	for i := 0; ; {
		for i < len(path) && path[i] == '/' {
			i++
		}
		if i == len(path) {
			if d.typ != abi.S_IFDIR { // with a slash behind it
				return nil, 0
			}
			return d, 0
		}
		j := i + 1
		for j < len(path) && path[j] != '/' {
			j++
		}
		if d.typ != abi.S_IFDIR {
			return nil, 0
		}
		if m := d.node.Mode(); m&0o111 != 0o111 && c.UID != 0 && c.permit(d, abi.X_OK) != 0 {
			return nil, 0
		}
		name := path[i:j]
		i = j
		if name[0] == '.' {
			if len(name) == 1 {
				continue
			}
			if len(name) == 2 && name[1] == '.' {
				d = ns.above(root, d)
				continue
			}
		}
		if d = ns.cache.find(d, name); d == nil {
			return nil, 0
		}
		switch d.typ {
		case abi.S_IFDIR:
			d = d.cross()
		case 0:
			return nil, abi.ENOENT
		case abi.S_IFLNK:
			if follow || i < len(path) {
				return nil, 0
			}
		}
		if i == len(path) {
			return d, 0
		}
	}
}
