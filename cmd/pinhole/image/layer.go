package image

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"pinhole/abi"
	"pinhole/cmd/pinhole/image/tarfile"
	"pinhole/fs/vfs"
)

// Names in layers that stand for something that is gone (OCI Image Format Specification, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq" // everything that lower layers have in the directory
	whiteoutOther  = ".wh..wh."     // what AUFS keeps for itself
)

// whiteouts is what a layer takes away from those below it. It goes before everything else of the layer,
// since it does not touch what the layer itself brings, in whatever order that comes.
type whiteouts struct {
	list  []whiteout
	bytes int
}

type whiteout struct {
	path   string
	opaque bool
}

const (
	maxWhiteouts     = 1 << 20
	maxWhiteoutBytes = 64 << 20
)

// layerName tells of a clean path in a layer what it is: a whiteout, something that belongs to whiteouts
// and means nothing, or a file.
func layerName(p string) (w whiteout, special bool, err error) {
	if !strings.Contains(p, "/"+whiteoutPrefix) {
		return whiteout{}, false, nil
	}
	dir, base := path.Split(p)
	switch {
	case strings.Contains(dir, "/"+whiteoutPrefix):
		return whiteout{}, true, nil
	case base == whiteoutOpaque:
		return whiteout{path: path.Clean(dir), opaque: true}, true, nil
	case strings.HasPrefix(base, whiteoutOther):
		return whiteout{}, true, nil
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return whiteout{}, true, fmt.Errorf("%q takes away what cannot be named so", base)
	}
	return whiteout{path: dir + name}, true, nil
}

func (all *whiteouts) add(w whiteout) error {
	if w.path == "" {
		return nil
	}
	all.bytes += len(w.path)
	if len(all.list) >= maxWhiteouts || all.bytes > maxWhiteoutBytes {
		return errors.New("takes away more files than is sensible")
	}
	all.list = append(all.list, w)
	return nil
}

// apply takes away what the whiteouts say.
func (w *writer) applyWhiteouts(all *whiteouts) error {
	for _, x := range all.list {
		if err := stopped(w.im.ctx); err != nil {
			return err
		}
		pl, err := w.at(x.path, false)
		if errors.Is(err, abi.ENOENT) || errors.Is(err, abi.ENOTDIR) {
			continue // nothing is there
		}
		if err != nil {
			return err
		}
		if !x.opaque {
			if err := w.remove(pl); err != nil {
				return err
			}
			continue
		}
		d, err := w.lookup(pl)
		if err != nil {
			return err
		}
		if d == nil {
			continue
		}
		if d.IsDir() {
			w.parentPath = ""
			err = w.emptyKeeping(pl, d)
		}
		d.Unref()
		if err != nil {
			return err
		}
	}
	return nil
}

// emptyKeeping empties a directory and leaves its times.
func (w *writer) emptyKeeping(pl place, d *vfs.Dentry) error {
	var a vfs.Attr
	if e := d.Attr(&a); e != 0 {
		return w.im.fail(pl.path, e)
	}
	if err := w.empty(pl, d, make(map[uint64]bool)); err != nil {
		return err
	}
	return w.im.fail(pl.path, d.Node().SetAttr(&vfs.SetAttr{Mask: vfs.SetAtime | vfs.SetMtime, Atime: a.Atime, Mtime: a.Mtime}))
}

// scan reads an archive's headers, to learn how much it is; of a layer also what it takes away.
func scan(r *tarfile.Reader, layer bool, t *tally, gone *whiteouts, stop func() error) error {
	for {
		if err := stop(); err != nil {
			return err
		}
		h, err := r.Next()
		if err == io.EOF {
			return r.Drain() // which verifies the digest
		}
		if err != nil {
			return err
		}
		if layer {
			x, special, err := layerName(cleanPath(h.Name))
			if err == nil && special {
				err = gone.add(x)
			}
			if err != nil {
				return entryError(h, err)
			}
			if special {
				continue
			}
		}
		size := h.Stored()
		if t.bytes > math.MaxInt64/4-size {
			return entryError(h, errors.New("the files are larger than anything that an image could hold"))
		}
		t.add(size, h.Type == tarfile.Directory)
		if n := int64(len(h.Linkname)); h.Type == tarfile.Symlink && n > 59 || len(h.Xattrs) > 1 {
			t.room += 4096
		}
		// The map of a file in many parts.
		t.room += int64(len(h.Sparse)) / 300 * 4096
	}
}

// entryError says of which entry an error is.
func entryError(h *tarfile.Header, err error) error {
	return at(printable(fmt.Sprintf("%.300s", h.Name)), err)
}

// unpackTar puts what is in an archive into the image; of a layer without what stands for whiteouts.
func (w *writer) unpackTar(r *tarfile.Reader, layer bool) error {
	for {
		if err := stopped(w.im.ctx); err != nil {
			return err
		}
		h, err := r.Next()
		if err == io.EOF {
			if err := r.Drain(); err != nil {
				return err
			}
			if !r.Marked() && !layer {
				w.warn("", "the archive has no end mark; it may have been cut short")
			}
			return nil
		}
		if err != nil {
			return err
		}
		p := cleanPath(h.Name)
		if layer {
			if _, special, _ := layerName(p); special {
				continue
			}
		}
		if err := w.tarEntry(p, h, r); err != nil {
			return entryError(h, err)
		}
	}
}

func (w *writer) tarEntry(p string, h *tarfile.Header, r io.Reader) error {
	m, err := w.tarMeta(p, h)
	if err != nil {
		return err
	}
	if h.Type == tarfile.Hardlink {
		return w.hardlink(p, h.Linkname)
	}
	pl, err := w.at(p, true)
	if err != nil {
		return err
	}
	switch h.Type {
	case tarfile.Regular:
		c := content{size: h.Size, r: r}
		if h.Sparse != nil {
			c.data = make([]extent, len(h.Sparse))
			for i, s := range h.Sparse {
				c.data[i] = extent{s.Off, s.Len}
			}
		}
		return w.file(pl, m, c)
	case tarfile.Directory:
		d, err := w.dir(pl, m)
		if err == nil {
			d.Unref()
		}
		return err
	case tarfile.Symlink:
		if h.Linkname == "" {
			return errors.New("is a symbolic link that leads nowhere")
		}
		return w.symlink(pl, h.Linkname, m)
	case tarfile.Char, tarfile.Block:
		// What Linux has for device numbers.
		if h.Major < 0 || h.Major > 1<<12-1 || h.Minor < 0 || h.Minor > 1<<20-1 {
			return fmt.Errorf("device %d,%d cannot be", h.Major, h.Minor)
		}
		mode := uint32(unix.S_IFCHR)
		if h.Type == tarfile.Block {
			mode = unix.S_IFBLK
		}
		return w.node(pl, mode, unix.Mkdev(uint32(h.Major), uint32(h.Minor)), m)
	case tarfile.Fifo:
		return w.node(pl, unix.S_IFIFO, 0, m)
	}
	return fmt.Errorf("is of type %q, which is not known", h.Type)
}

// hardlink makes a name of a file that an archive or a layer below brought before.
func (w *writer) hardlink(p, to string) error {
	old, err := w.at(cleanPath(to), false)
	var d *vfs.Dentry
	if err == nil {
		d, err = w.lookup(old)
	}
	if err == nil && d == nil {
		err = abi.ENOENT
	}
	if err != nil {
		if errors.Is(err, abi.ENOENT) {
			err = fmt.Errorf("is a hard link to %s, which is not there", printable(to))
		}
		return err
	}
	defer d.Unref()
	if d.IsDir() {
		return fmt.Errorf("is a hard link to %s, which is a directory", printable(to))
	}
	pl, err := w.at(p, true)
	if err != nil {
		return err
	}
	return w.link(pl, d)
}

func (w *writer) tarMeta(p string, h *tarfile.Header) (*meta, error) {
	if h.UID < 0 || h.GID < 0 || h.UID > 1<<32-2 || h.GID > 1<<32-2 {
		return nil, fmt.Errorf("owner %d:%d cannot be", h.UID, h.GID)
	}
	m := &meta{mode: h.Mode, uid: uint32(h.UID), gid: uint32(h.GID), mtime: vfs.Timespec(h.Mtime), atime: vfs.Timespec(h.Mtime)}
	if h.HasAtime {
		m.atime = vfs.Timespec(h.Atime)
	}
	for name, value := range h.Xattrs {
		if keepXattr(name) {
			m.set(name, value)
		}
	}
	for name, text := range map[string]string{aclAccess: h.AccessACL, aclDefault: h.DefaultACL} {
		if _, ok := h.Xattrs[name]; ok || text == "" {
			continue
		}
		acl, err := parseACL(text)
		if err != nil {
			w.warn(p, "its ACL is not kept: "+err.Error())
		} else if acl != "" {
			m.set(name, acl)
		}
	}
	return m, nil
}

func (m *meta) set(name, value string) {
	if m.xattrs == nil {
		m.xattrs = make(map[string]string)
	}
	m.xattrs[name] = value
}
