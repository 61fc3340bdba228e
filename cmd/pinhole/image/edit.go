package image

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// edit opens an image, lets do change it, and closes it.
func edit(path string, do func(w *writer) error) error {
	ctx, done := interruptible()
	defer done()
	im, err := Open(path, true)
	if err != nil {
		return err
	}
	return im.edit(ctx, do)
}

// edit lets do change an image, and closes it.
func (im *Image) edit(ctx context.Context, do func(w *writer) error) error {
	im.ctx = ctx
	w := newWriter(im, nil)
	err := do(w)
	w.close()
	if e := im.Close(); err == nil {
		err = e
	}
	return err
}

type rmCmd struct {
	Recursive bool     `short:"r" help:"Directories, too, with all that is in them."`
	Force     bool     `short:"f" help:"That something is not there is no error."`
	Image     string   `arg:"" help:"Image file."`
	Path      []string `arg:"" help:"Files in the image."`
}

// Run implements the command.
func (c *rmCmd) Run() error {
	return edit(c.Image, func(w *writer) error {
		for _, p := range c.Path {
			pl, d, err := w.existing(p)
			if c.Force && errors.Is(err, abi.ENOENT) {
				continue
			}
			if err != nil {
				return err
			}
			isDir := d.IsDir()
			d.Unref()
			switch {
			case pl.name == ".":
				err = w.im.failWith(p, errors.New("is the root directory, which cannot be removed"))
			case isDir && !c.Recursive:
				err = w.im.failWith(p, errors.New("is a directory; use --recursive to remove it with all that is in it"))
			default:
				err = w.remove(pl)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// existing returns the place of a file that has to be there, and the file, which is not followed if it is a
// link. The caller lets go of it.
func (w *writer) existing(p string) (place, *vfs.Dentry, error) {
	pl, err := w.at(cleanPath(p), false)
	if err != nil {
		return place{}, nil, err
	}
	d, err := w.lookup(pl)
	if err == nil && d == nil {
		err = w.im.fail(p, abi.ENOENT)
	}
	return pl, d, err
}

type mkdirCmd struct {
	Parents bool     `short:"p" help:"Make what is missing above, too; that it is there already is no error."`
	Mode    string   `short:"m" placeholder:"MODE" default:"755" help:"Permissions, as chmod takes them (${default})."`
	Image   string   `arg:"" help:"Image file."`
	Path    []string `arg:"" help:"Directories to make in the image."`
}

// Run implements the command.
func (c *mkdirCmd) Run() error {
	mode, err := parseMode(c.Mode)
	if err != nil {
		return fmt.Errorf("--mode: %w", err)
	}
	return edit(c.Image, func(w *writer) error {
		for _, p := range c.Path {
			pl, err := w.at(cleanPath(p), c.Parents)
			if err != nil {
				return err
			}
			d, err := w.lookup(pl)
			if err != nil {
				return err
			}
			if d != nil {
				isDir := d.IsDir()
				d.Unref()
				if c.Parents && isDir {
					continue
				}
				return w.im.failWith(p, errors.New("is there already"))
			}
			if d, _, err = w.makeDir(pl); err != nil {
				return err
			}
			e := d.SetAttr(&w.im.root, &vfs.SetAttr{Mask: vfs.SetMode, Mode: mode(abi.S_IFDIR | 0o777)})
			d.Unref()
			if e != 0 {
				return w.im.fail(p, e)
			}
		}
		return nil
	})
}

type mvCmd struct {
	NoReplace bool     `short:"n" help:"Replace nothing."`
	Image     string   `arg:"" help:"Image file."`
	Path      []string `arg:"" help:"Files in the image, then the place: a directory, or with a single file its new name."`
}

// Run implements the command.
func (c *mvCmd) Run() error {
	if len(c.Path) < 2 {
		return fmt.Errorf("mv: give what to move and, last, where to: pinhole image mv %s FILE... PLACE", c.Image)
	}
	sources, dst := c.Path[:len(c.Path)-1], c.Path[len(c.Path)-1]
	return edit(c.Image, func(w *writer) error {
		into, err := w.into(dst, len(sources) > 1)
		if err != nil {
			return err
		}
		for _, src := range sources {
			to := cleanPath(dst)
			if into {
				to = path.Join(to, path.Base(cleanPath(src)))
			}
			flags := uint32(0)
			if c.NoReplace {
				flags = abi.RENAME_NOREPLACE
			}
			switch e := w.im.ns.Rename(&w.im.root, nil, cleanPath(src), nil, to, flags); e {
			case 0:
			case abi.EEXIST, abi.ENOTEMPTY:
				return w.im.failWith(to, errors.New("is there already"))
			case abi.EINVAL:
				return w.im.failWith(src, fmt.Errorf("cannot be moved into itself, to %s", printable(to)))
			default:
				return w.im.fail(src, e)
			}
		}
		return nil
	})
}

// into tells whether a place is a directory that things go into; must: it has to be.
func (w *writer) into(dst string, must bool) (bool, error) {
	var a vfs.Attr
	e := w.im.ns.Stat(&w.im.root, nil, cleanPath(dst), 0, &a)
	isDir := e == 0 && a.Mode&abi.S_IFMT == abi.S_IFDIR
	switch {
	case e != 0 && e != abi.ENOENT:
		return false, w.im.fail(dst, e)
	case !isDir && (must || strings.HasSuffix(dst, "/")):
		return false, w.im.failWith(dst, errors.New("is not a directory"))
	}
	return isDir, nil
}

type lnCmd struct {
	Symbolic bool   `short:"s" help:"Make a symbolic link, which may lead to what is not there."`
	Force    bool   `short:"f" help:"Replace a file of that name."`
	Image    string `arg:"" help:"Image file."`
	Target   string `arg:"" help:"What the name is to lead to, in the image."`
	Name     string `arg:"" help:"The new name in the image, or a directory for it."`
}

// Run implements the command.
func (c *lnCmd) Run() error {
	return edit(c.Image, func(w *writer) error {
		name := cleanPath(c.Name)
		into, err := w.into(c.Name, false)
		if err != nil {
			return err
		}
		if into {
			name = path.Join(name, path.Base(cleanPath(c.Target)))
		}
		var old *vfs.Dentry
		if !c.Symbolic {
			if _, old, err = w.existing(c.Target); err != nil {
				return err
			}
			defer old.Unref()
			if old.IsDir() {
				return w.im.failWith(c.Target, errors.New("is a directory, which has only one name; use --symbolic"))
			}
		}
		pl, err := w.at(name, false)
		if err != nil {
			return err
		}
		if d, err := w.lookup(pl); err != nil {
			return err
		} else if d != nil {
			d.Unref()
			if !c.Force {
				return w.im.failWith(name, errors.New("is there already; use --force to replace it"))
			}
		}
		if c.Symbolic {
			if err := w.room(pl); err != nil {
				return err
			}
			return w.im.fail(name, w.im.ns.Symlink(&w.im.root, c.Target, pl.dir, pl.name))
		}
		return w.link(pl, old)
	})
}

type chmodCmd struct {
	Recursive bool     `short:"R" help:"All that is in directories, too."`
	Image     string   `arg:"" help:"Image file."`
	Mode      string   `arg:"" help:"Permissions: 755, or changes such as u+x,go-w."`
	Path      []string `arg:"" help:"Files in the image."`
}

// Run implements the command.
func (c *chmodCmd) Run() error {
	change, err := parseMode(c.Mode)
	if err != nil {
		return err
	}
	return edit(c.Image, func(w *writer) error {
		return w.each(c.Path, c.Recursive, func(n *treeNode) (vfs.SetAttr, bool) {
			return vfs.SetAttr{Mask: vfs.SetMode, Mode: change(n.a.Mode)}, n.a.Mode&abi.S_IFMT != abi.S_IFLNK
		})
	})
}

// each changes attributes of files; links are followed where they are named, and left alone below.
func (w *writer) each(paths []string, recursive bool, change func(n *treeNode) (vfs.SetAttr, bool)) error {
	for _, p := range paths {
		t := tree{im: w.im, enter: func(n *treeNode) (bool, error) {
			if set, ok := change(n); ok {
				if e := n.d.SetAttr(&w.im.root, &set); e != 0 {
					return false, w.im.fail(n.path, e)
				}
			}
			return recursive, nil
		}}
		if err := t.walk(p, true); err != nil {
			return err
		}
	}
	return nil
}

type chownCmd struct {
	Recursive bool     `short:"R" help:"All that is in directories, too."`
	Image     string   `arg:"" help:"Image file."`
	Owner     string   `arg:"" help:"New owner: UID:GID, UID, or :GID; names are those of the image's /etc/passwd and /etc/group."`
	Path      []string `arg:"" help:"Files in the image."`
}

// Run implements the command.
func (c *chownCmd) Run() error {
	return edit(c.Image, func(w *writer) error {
		uid, gid, setUID, setGID, err := w.im.parseOwner(c.Owner)
		if err != nil {
			return fmt.Errorf("chown: %w", err)
		}
		set := vfs.SetAttr{UID: uid, GID: gid}
		if setUID {
			set.Mask |= vfs.SetUID
		}
		if setGID {
			set.Mask |= vfs.SetGID
		}
		return w.each(c.Path, c.Recursive, func(*treeNode) (vfs.SetAttr, bool) { return set, true })
	})
}
