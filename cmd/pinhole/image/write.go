package image

import (
	"errors"
	"io"
	"path"
	"strings"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// writer puts files into an image. Where a path leads is the image's business alone: its own symbolic links
// are followed, in itself, and ".." ends at its root.
type writer struct {
	im       *Image
	progress *progress
	buf      []byte
	// replace lets anything take the place of anything else: a file that of a directory with all that is
	// in it.
	replace bool
	// keepTimes leaves the times of a directory as they are when something is put into it: an archive says
	// what they are, before or after what is in it.
	keepTimes bool
	// only takes extended attributes away that the new ones of a directory that is there do not include.
	only bool
	warn func(path, what string)

	parent     *vfs.Dentry // the directory used last, held
	parentPath string
	skipped    map[string]bool // kinds of attributes that were warned about
}

func newWriter(im *Image, p *progress) *writer {
	return &writer{im: im, progress: p, buf: make([]byte, 1<<20), warn: func(string, string) {}, skipped: make(map[string]bool)}
}

// close lets go of what the writer holds. It is for before the image is closed.
func (w *writer) close() { w.forget() }

func (w *writer) forget() {
	if w.parent != nil {
		w.parent.Unref()
		w.parent = nil
	}
}

// cleanPath makes a path in the image of what a user or an archive says.
func cleanPath(p string) string { return path.Clean("/" + p) }

// place is a name in a directory of the image. The root is "." in itself.
type place struct {
	dir  *vfs.Dentry
	name string
	path string
}

func (p place) in(name string, d *vfs.Dentry) place { return place{d, name, child(p.path, name)} }

// at returns the place of a clean path; directories above it that are missing are made if make is set. The
// directory is held by the writer, until the next call.
func (w *writer) at(p string, make bool) (place, error) {
	dir, name := path.Split(p)
	if p == "/" {
		name = "."
	}
	if w.parent != nil && w.parentPath == dir {
		return place{w.parent, name, p}, nil
	}
	d, e := w.im.ns.Walk(&w.im.root, nil, "/", 0)
	if e != 0 {
		return place{}, w.im.fail("/", e)
	}
	d, err := w.descend(d, dir, "", make, 0)
	if err != nil {
		return place{}, err
	}
	w.forget()
	w.parent, w.parentPath = d, dir
	return place{d, name, p}, nil
}

// maxLinks is how many links may lead one to the next, as in path_resolution(7).
const maxLinks = 40

// descend returns the directory at a path from d, which it lets go of; shown is the path of d, for messages.
// It goes by components, since all of it may be longer than a path can be. With make, directories that are
// missing are made, also those to which a link leads.
func (w *writer) descend(d *vfs.Dentry, p, shown string, make bool, links int) (_ *vfs.Dentry, err error) {
	for p != "" {
		var c string
		if c, p, _ = strings.Cut(p, "/"); c == "" {
			continue
		}
		shown += "/" + c
		next, e := w.im.ns.Walk(&w.im.root, d, c, 0)
		if e == abi.ENOENT && make {
			if next, err = w.makeParent(place{d, c, shown}, links); err != nil {
				d.Unref()
				return nil, err
			}
			e = 0
		}
		if e == 0 && !next.IsDir() {
			next.Unref()
			e = abi.ENOTDIR
		}
		d.Unref()
		if e != 0 {
			return nil, w.im.fail(shown, e)
		}
		d = next
	}
	return d, nil
}

// makeParent makes a directory that is missing on the way to something else.
func (w *writer) makeParent(pl place, links int) (*vfs.Dentry, error) {
	link, err := w.lookup(pl)
	if err != nil {
		return nil, err
	}
	if link == nil {
		if err := w.change(pl.dir, pl.path, func() abi.Errno { return w.im.ns.Mkdir(&w.im.root, pl.dir, pl.name, 0o755) }); err != nil {
			return nil, err
		}
		return w.made(pl)
	}
	target, e := link.Node().Readlink()
	link.Unref()
	if e == 0 && links >= maxLinks {
		e = abi.ELOOP
	}
	if e != 0 {
		return nil, w.im.fail(pl.path, e)
	}
	from, shown := pl.dir, path.Dir(pl.path)
	from.Ref()
	if strings.HasPrefix(target, "/") {
		from.Unref()
		if from, e = w.im.ns.Walk(&w.im.root, nil, "/", 0); e != 0 {
			return nil, w.im.fail("/", e)
		}
		shown = ""
	}
	return w.descend(from, target, strings.TrimSuffix(shown, "/"), true, links+1)
}

// mkdirs makes a directory and those above it, where they are missing.
func (w *writer) mkdirs(p string) error {
	_, err := w.at(child(p, "."), true)
	return err
}

// change does something to the names of a directory.
func (w *writer) change(dir *vfs.Dentry, p string, do func() abi.Errno) error {
	if !w.keepTimes {
		return w.im.fail(p, do())
	}
	var a vfs.Attr
	e := dir.Attr(&a)
	if e == 0 {
		if e = do(); e == 0 {
			e = dir.Node().SetAttr(&vfs.SetAttr{Mask: vfs.SetAtime | vfs.SetMtime, Atime: a.Atime, Mtime: a.Mtime})
		}
	}
	return w.im.fail(p, e)
}

// lookup returns what is at a place, not following it; nil if nothing is.
func (w *writer) lookup(pl place) (*vfs.Dentry, error) {
	d, e := w.im.ns.Walk(&w.im.root, pl.dir, pl.name, abi.AT_SYMLINK_NOFOLLOW)
	if e == abi.ENOENT {
		return nil, nil
	}
	return d, w.im.fail(pl.path, e)
}

// dir makes a directory, or takes one that is there. The caller lets go of it.
func (w *writer) dir(pl place, m *meta) (*vfs.Dentry, error) {
	d, fresh, err := w.makeDir(pl)
	if err == nil {
		if err = w.finish(d, pl.path, m, fresh); err != nil {
			d.Unref()
		}
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// makeDir is dir without attributes.
func (w *writer) makeDir(pl place) (d *vfs.Dentry, fresh bool, err error) {
	d, err = w.lookup(pl)
	if err != nil {
		return nil, false, err
	}
	if d != nil && d.IsDir() {
		return d, false, nil
	}
	if d != nil {
		if !w.replace {
			// A link to a directory is as good as one.
			to, e := w.im.ns.Walk(&w.im.root, pl.dir, pl.name, 0)
			d.Unref()
			if e == 0 && to.IsDir() {
				return to, false, nil
			}
			if e == 0 {
				to.Unref()
				e = abi.ENOTDIR
			}
			return nil, false, w.im.fail(pl.path, e)
		}
		d.Unref()
		if err := w.remove(pl); err != nil {
			return nil, false, err
		}
	}
	if err := w.change(pl.dir, pl.path, func() abi.Errno { return w.im.ns.Mkdir(&w.im.root, pl.dir, pl.name, 0o755) }); err != nil {
		return nil, false, err
	}
	d, err = w.made(pl)
	return d, true, err
}

// made returns what has just been made at a place.
func (w *writer) made(pl place) (*vfs.Dentry, error) {
	d, err := w.lookup(pl)
	if d == nil && err == nil {
		err = w.im.fail(pl.path, abi.ENOENT)
	}
	return d, err
}

// extent is a part of a file that is not a hole.
type extent struct{ off, n int64 }

// content is what is in a regular file of size bytes.
type content struct {
	size int64
	r    io.Reader
	// data are the parts that are not holes; r gives them, one after the other. Nil: all of it.
	data []extent
}

// file makes a regular file.
func (w *writer) file(pl place, m *meta, c content) error {
	if err := w.room(pl); err != nil {
		return err
	}
	var d *vfs.Dentry
	err := w.change(pl.dir, pl.path, func() (e abi.Errno) {
		d, _, e = w.im.ns.Open(&w.im.root, pl.dir, pl.name, abi.O_CREAT|abi.O_EXCL|abi.O_WRONLY, 0o600)
		return e
	})
	if err != nil {
		if d != nil {
			d.Unref()
		}
		return err
	}
	defer d.Unref()
	if c.data == nil {
		c.data = []extent{{0, c.size}}
	}
	end := int64(0)
	for _, x := range c.data {
		if err := w.copy(pl.path, d, x, c.r); err != nil {
			return err
		}
		end = x.off + x.n
	}
	if end < c.size { // it ends in a hole
		if e := d.Node().SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: c.size}); e != 0 {
			return w.im.fail(pl.path, e)
		}
	}
	return w.finish(d, pl.path, m, true)
}

// errShort is a source that does not have what it promised.
var errShort = errors.New("is shorter than it says; it may have changed meanwhile")

// copy copies one part.
func (w *writer) copy(p string, d *vfs.Dentry, x extent, r io.Reader) error {
	for x.n > 0 {
		if err := stopped(w.im.ctx); err != nil {
			return err
		}
		buf := w.buf[:min(x.n, int64(len(w.buf)))]
		n, err := io.ReadFull(r, buf)
		for part := buf[:n]; len(part) > 0; {
			m := vfs.Memory(part)
			done, _, e := d.Node().Write(x.off, len(part), &m)
			if e != 0 {
				return w.im.fail(p, e)
			}
			if done <= 0 {
				return w.im.fail(p, abi.EIO)
			}
			part = part[done:]
			x.off += int64(done)
			x.n -= int64(done)
			w.progress.add(int64(done))
		}
		switch {
		case err == nil:
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return errShort
		default:
			return err
		}
	}
	return nil
}

// symlink makes a symbolic link.
func (w *writer) symlink(pl place, target string, m *meta) error {
	if err := w.room(pl); err != nil {
		return err
	}
	if err := w.change(pl.dir, pl.path, func() abi.Errno { return w.im.ns.Symlink(&w.im.root, target, pl.dir, pl.name) }); err != nil {
		return err
	}
	return w.finishMade(pl, m)
}

func (w *writer) finishMade(pl place, m *meta) error {
	d, err := w.made(pl)
	if err != nil {
		return err
	}
	defer d.Unref()
	return w.finish(d, pl.path, m, true)
}

// link makes another name of a file.
func (w *writer) link(pl place, old *vfs.Dentry) error {
	if there, err := w.lookup(pl); err != nil {
		return err
	} else if there != nil {
		same := there.Node() == old.Node()
		there.Unref()
		if same {
			return nil
		}
	}
	if err := w.room(pl); err != nil {
		return err
	}
	return w.change(pl.dir, pl.path, func() abi.Errno {
		return w.im.ns.Link(&w.im.root, old, "", pl.dir, pl.name, abi.AT_EMPTY_PATH)
	})
}

// node makes a device, FIFO or socket: mode has the type.
func (w *writer) node(pl place, mode uint32, rdev uint64, m *meta) error {
	if err := w.room(pl); err != nil {
		return err
	}
	if err := w.change(pl.dir, pl.path, func() abi.Errno {
		return w.im.ns.Mknod(&w.im.root, pl.dir, pl.name, mode, rdev)
	}); err != nil {
		return err
	}
	return w.finishMade(pl, m)
}
