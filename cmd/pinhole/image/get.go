package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

type getCmd struct {
	KeepOwner bool     `help:"The copies belong to whom the files belong in the image; needs root."`
	Image     string   `arg:"" help:"Image file."`
	Path      []string `arg:"" help:"Files and directories in the image, then the place on the host: a directory, or with a single file its new name."`
}

// Run implements the command.
func (c *getCmd) Run() error {
	if len(c.Path) < 2 {
		return fmt.Errorf("get: give the files to copy and, last, the place on the host: pinhole image get %s FILE... PLACE", c.Image)
	}
	im, done, err := openInterruptible(c.Image)
	if err != nil {
		return err
	}
	defer done()
	sources, dst := c.Path[:len(c.Path)-1], c.Path[len(c.Path)-1]
	bar := newProgress("copying", -1)
	defer bar.finish()
	return get(im, bar, c.KeepOwner, sources, dst)
}

func get(im *Image, bar *progress, keepOwner bool, sources []string, dst string) error {
	into := len(sources) > 1 || strings.HasSuffix(dst, "/")
	if st, err := os.Stat(dst); err == nil && st.IsDir() {
		into = true
	} else if into {
		return fmt.Errorf("%s: is not a directory", dst)
	}
	for _, src := range sources {
		dir, name := dst, path.Base(cleanPath(src))
		if !into {
			dir, name = filepath.Dir(dst), filepath.Base(dst)
		}
		if name == "/" {
			name = "."
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		g := newGetter(im, root, dir, bar)
		g.keepOwner = keepOwner
		d, a, err := im.walk(src, true)
		if err == nil {
			err = g.copy(d, &a, src, name)
			d.Unref()
		}
		root.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// getter copies out of an image. The image may be hostile: nothing is made outside of root,
// whatever names and links it has.
type getter struct {
	im        *Image
	root      *os.Root
	base      string // root, for messages
	bar       *progress
	keepOwner bool
	plain     bool              // nothing but files and directories is copied
	keep      bool              // files that are there stay
	links     map[uint64]string // first copy of files with several names
	above     map[uint64]bool   // inodes of the directories on the way
	buf       []byte
}

func newGetter(im *Image, root *os.Root, base string, bar *progress) *getter {
	return &getter{im: im, root: root, base: base, bar: bar, links: make(map[uint64]string), above: make(map[uint64]bool), buf: make([]byte, 1<<20)}
}

func (g *getter) copy(d *vfs.Dentry, a *vfs.Attr, src, dst string) error {
	err := g.node(d, a, src, dst)
	var p *fs.PathError
	if errors.As(err, &p) && !filepath.IsAbs(p.Path) {
		p.Path = filepath.Join(g.base, p.Path)
	}
	return err
}

func (g *getter) node(d *vfs.Dentry, a *vfs.Attr, src, dst string) error {
	if err := stopped(g.im.ctx); err != nil {
		return err
	}
	if kind := a.Mode & abi.S_IFMT; kind != abi.S_IFDIR {
		if g.plain && kind != abi.S_IFREG {
			return nil
		}
		if _, err := g.root.Lstat(dst); g.keep && err == nil {
			return nil
		}
		if first, ok := g.links[a.Ino]; ok {
			if err := g.root.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return g.root.Link(first, dst)
		}
		if a.Nlink > 1 {
			g.links[a.Ino] = dst
		}
	}
	switch a.Mode & abi.S_IFMT {
	case abi.S_IFDIR:
		return g.dir(d, a, src, dst)
	case abi.S_IFREG:
		return g.file(d, a, src, dst)
	case abi.S_IFLNK:
		target, e := d.Node().Readlink()
		if e != 0 {
			return g.im.fail(src, e)
		}
		if err := g.root.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := g.root.Symlink(target, dst); err != nil {
			return err
		}
		if g.keepOwner {
			return g.root.Lchown(dst, int(a.UID), int(a.GID))
		}
		return nil
	}
	fmt.Fprintf(os.Stderr, "pinhole: image %s: %s: is a %s; not copied\n", g.im.path, src, typeNames[a.Mode&abi.S_IFMT])
	return nil
}

var typeNames = map[uint32]string{
	abi.S_IFIFO: "FIFO", abi.S_IFSOCK: "socket", abi.S_IFCHR: "character device", abi.S_IFBLK: "block device",
	abi.S_IFREG: "regular file", abi.S_IFDIR: "directory", abi.S_IFLNK: "symbolic link",
}

func (g *getter) dir(d *vfs.Dentry, a *vfs.Attr, src, dst string) error {
	if g.above[a.Ino] {
		return g.im.fail(src, abi.EUCLEAN) // it is in itself, which would never end
	}
	g.above[a.Ino] = true
	defer delete(g.above, a.Ino)
	// Ours to write into until it is complete.
	if err := g.root.Mkdir(dst, 0o700); err != nil {
		if st, statErr := g.root.Lstat(dst); statErr != nil || !st.IsDir() {
			return err
		}
	}
	entries, err := g.im.list(d, src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		ed, ea, err := g.im.entry(d, src, e.Name)
		if err != nil {
			return err
		}
		err = g.node(ed, &ea, child(src, e.Name), filepath.Join(dst, e.Name))
		ed.Unref()
		if err != nil {
			return err
		}
	}
	if dst == "." {
		return nil // a directory that was there
	}
	return g.attributes(a, dst)
}

func (g *getter) file(d *vfs.Dentry, a *vfs.Attr, src, dst string) error {
	if err := g.root.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := g.root.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = g.content(d, a, src, f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = g.attributes(a, dst)
	}
	return err
}

// content copies what is not a hole.
func (g *getter) content(d *vfs.Dentry, a *vfs.Attr, src string, f *os.File) error {
	holes, _ := d.Node().(vfs.HoleSeeker)
	for off := int64(0); off < a.Size; {
		end := a.Size
		if holes != nil {
			data, e := holes.SeekData(off)
			if e == abi.ENXIO {
				break
			}
			if e == 0 {
				off = data
				end, e = holes.SeekHole(off)
			}
			if e != 0 {
				return g.im.fail(src, e)
			}
		}
		for off < end {
			if err := stopped(g.im.ctx); err != nil {
				return err
			}
			m := vfs.Memory(g.buf)
			n, e := d.Node().Read(off, int(min(int64(len(g.buf)), end-off)), &m)
			if e != 0 || n == 0 {
				return g.im.fail(src, max(e, abi.EIO))
			}
			if _, err := f.WriteAt(g.buf[:n], off); err != nil {
				return err
			}
			off += int64(n)
			g.bar.add(int64(n))
		}
	}
	return f.Truncate(a.Size)
}

// attributes sets mode, times, and owner if asked for. Setuid and setgid bits of a hostile image
// do not become those of the user: they are kept with the owner only.
func (g *getter) attributes(a *vfs.Attr, dst string) error {
	mode := fs.FileMode(a.Mode & 0o777)
	if g.keepOwner {
		if err := g.root.Lchown(dst, int(a.UID), int(a.GID)); err != nil {
			return err
		}
		for bit, goBit := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
			if a.Mode&bit != 0 {
				mode |= goBit
			}
		}
	}
	if err := g.root.Chmod(dst, mode); err != nil {
		return err
	}
	t := time.Unix(a.Mtime.Sec, int64(a.Mtime.Nsec))
	return g.root.Chtimes(dst, t, t)
}
