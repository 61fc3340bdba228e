package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// meta is what a file has besides its content.
type meta struct {
	mode     uint32 // permission bits
	uid, gid uint32
	mtime    vfs.Timespec
	xattrs   map[string]string
}

// writer puts files into an image. Paths are clean and absolute in the image.
type writer struct {
	im       *Image
	progress *progress
	buf      []byte
	// dirs get their times last, when nothing is put into them any more.
	dirs []dirTime
}

type dirTime struct {
	path  string
	mtime vfs.Timespec
}

func newWriter(im *Image, p *progress) *writer {
	return &writer{im: im, progress: p, buf: make([]byte, 1<<20)}
}

// cleanPath makes a path in the image of what a user or an archive says.
func cleanPath(p string) string { return path.Clean("/" + p) }

// parents makes the directories above p that are missing.
func (w *writer) parents(p string) error { return w.mkdirs(path.Dir(p)) }

// mkdirs makes a directory and those above it, where they are missing.
func (w *writer) mkdirs(p string) error {
	var a vfs.Attr
	e := w.im.ns.Stat(&w.im.root, nil, p, 0, &a)
	switch {
	case e == 0 && a.Mode&abi.S_IFMT == abi.S_IFDIR:
		return nil
	case e == 0:
		return w.im.fail(p, abi.ENOTDIR)
	case e != abi.ENOENT:
		return w.im.fail(p, e)
	}
	if err := w.parents(p); err != nil {
		return err
	}
	return w.im.fail(p, w.im.ns.Mkdir(&w.im.root, nil, p, 0o755))
}

// room takes away what is at p and is not a directory, so that something can be made there.
func (w *writer) room(p string) error {
	if err := w.parents(p); err != nil {
		return err
	}
	e := w.im.ns.Unlink(&w.im.root, nil, p)
	switch e {
	case abi.ENOENT:
		return nil
	case abi.EISDIR:
		return fmt.Errorf("image %s: %s: is a directory; it is not replaced by something else", w.im.path, p)
	}
	return w.im.fail(p, e)
}

// finish sets what m says, for a file that is complete.
func (w *writer) finish(p string, m meta) error {
	d, a, err := w.im.walk(p, false)
	if err != nil {
		return err
	}
	defer d.Unref()
	set := vfs.SetAttr{Mask: vfs.SetUID | vfs.SetGID, UID: m.uid, GID: m.gid}
	e := d.SetAttr(&w.im.root, &set)
	if e == 0 && a.Mode&abi.S_IFMT != abi.S_IFLNK {
		// After the owner, whose change takes setuid away.
		e = d.SetAttr(&w.im.root, &vfs.SetAttr{Mask: vfs.SetMode, Mode: m.mode & 0o7777})
	}
	if e == 0 && len(m.xattrs) > 0 {
		x, ok := d.Node().(vfs.XattrNode)
		if !ok {
			e = abi.EOPNOTSUPP
		}
		for name, value := range m.xattrs {
			if e != 0 {
				break
			}
			if e = x.Setxattr(name, []byte(value), 0); e != 0 {
				return fmt.Errorf("attribute %s: %w", name, w.im.fail(p, e))
			}
		}
	}
	if e == 0 {
		e = d.SetAttr(&w.im.root, &vfs.SetAttr{Mask: vfs.SetAtime | vfs.SetMtime, Atime: m.mtime, Mtime: m.mtime})
	}
	return w.im.fail(p, e)
}

// dir makes a directory, or takes one that is there.
func (w *writer) dir(p string, m meta) error {
	if err := w.mkdirs(p); err != nil {
		return err
	}
	w.dirs = append(w.dirs, dirTime{p, m.mtime})
	return w.finish(p, m)
}

// closeDirs gives the directories their times. It is for the end.
func (w *writer) closeDirs() error {
	for _, d := range w.dirs {
		set := vfs.SetAttr{Mask: vfs.SetAtime | vfs.SetMtime, Atime: d.mtime, Mtime: d.mtime}
		if e := w.im.ns.SetAttr(&w.im.root, nil, d.path, abi.AT_SYMLINK_NOFOLLOW, &set); e != 0 {
			return w.im.fail(d.path, e)
		}
	}
	return nil
}

// extent is a part of a file that is not a hole.
type extent struct{ off, n int64 }

// content is what is in a regular file of size bytes.
type content struct {
	size int64
	r    io.Reader
	// data are the parts that are not holes; r gives them, one after the other. Nil: all of it.
	data []extent
	// zeros makes holes of whole blocks of zeros.
	zeros bool
}

// file makes a regular file.
func (w *writer) file(p string, m meta, c content) error {
	if err := w.room(p); err != nil {
		return err
	}
	d, _, e := w.im.ns.Open(&w.im.root, nil, p, abi.O_CREAT|abi.O_EXCL|abi.O_WRONLY, 0o600)
	if e != 0 {
		return w.im.fail(p, e)
	}
	defer d.Unref()
	if c.data == nil {
		c.data = []extent{{0, c.size}}
	}
	for _, x := range c.data {
		if err := w.copy(p, d, x, &c); err != nil {
			return err
		}
	}
	// Also what ends in a hole has its size.
	var a vfs.Attr
	if e = d.Attr(&a); e == 0 && a.Size < c.size {
		e = d.SetAttr(&w.im.root, &vfs.SetAttr{Mask: vfs.SetSize, Size: c.size})
	}
	if e != 0 {
		return w.im.fail(p, e)
	}
	return w.finish(p, m)
}

// copy copies one part.
func (w *writer) copy(p string, d *vfs.Dentry, x extent, c *content) error {
	for x.n > 0 {
		buf := w.buf[:min(x.n, int64(len(w.buf)))]
		n, err := io.ReadFull(c.r, buf)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return err
		}
		short := err != nil // the file was cut while it was read, or the archive ends
		for part := buf[:n]; len(part) > 0; {
			if skip := zeros(part); c.zeros && skip > 0 {
				x.off += int64(skip)
				x.n -= int64(skip)
				part = part[skip:]
				continue
			}
			take := len(part)
			if c.zeros {
				take = min(take, holeSize)
			}
			m := vfs.Memory(part[:take])
			done, _, e := d.Node().Write(x.off, take, &m)
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
		if short {
			return errors.New("is shorter than it says; it may have changed meanwhile")
		}
	}
	return nil
}

// holeSize is the least length of zeros that is made a hole.
const holeSize = 4096

var zeroBlock [holeSize]byte

// zeros returns how many bytes of whole blocks at the front of p are zero.
func zeros(p []byte) int {
	n := 0
	for len(p)-n >= holeSize && bytes.Equal(p[n:n+holeSize], zeroBlock[:]) {
		n += holeSize
	}
	return n
}

func (w *writer) symlink(p, target string, m meta) error {
	if err := w.room(p); err != nil {
		return err
	}
	if e := w.im.ns.Symlink(&w.im.root, target, nil, p); e != 0 {
		return w.im.fail(p, e)
	}
	return w.finish(p, m)
}

// link makes another name of the file at old.
func (w *writer) link(p, old string) error {
	if p == old {
		return nil
	}
	if err := w.room(p); err != nil {
		return err
	}
	return w.im.fail(p, w.im.ns.Link(&w.im.root, nil, old, nil, p, 0))
}

// node makes a device, FIFO or socket: mode has the type.
func (w *writer) node(p string, mode uint32, rdev uint64, m meta) error {
	if err := w.room(p); err != nil {
		return err
	}
	if e := w.im.ns.Mknod(&w.im.root, nil, p, mode, rdev); e != 0 {
		return w.im.fail(p, e)
	}
	return w.finish(p, m)
}
