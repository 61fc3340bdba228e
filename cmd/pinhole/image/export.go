package image

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"pinhole/abi"
	"pinhole/cmd/pinhole/image/tarfile"
	"pinhole/fs/vfs"
)

type exportCmd struct {
	Output string `short:"o" placeholder:"FILE" help:"Write the archive there, not to standard output."`
	Image  string `arg:"" help:"Image file."`
	Path   string `arg:"" optional:"" default:"/" help:"Directory or file in the image (${default}); names in the archive start below it."`
}

// Help is the long text of --help.
func (exportCmd) Help() string {
	return `The archive (PAX) has everything that makes the files what they are: owners, modes, times, hard links,
devices, extended attributes, and holes as holes. The same files give the same archive, byte for byte.

  pinhole image export app.img > app.tar
  pinhole image export app.img /etc | zstd > etc.tar.zst
  pinhole image export old.img | pinhole image import new.img -`
}

// Run implements the command.
func (c *exportCmd) Run() (err error) {
	if c.Output == "" && term.IsTerminal(int(os.Stdout.Fd())) {
		return errors.New("export: not to a terminal; write \"> FILE\" behind the command, or use --output FILE")
	}
	im, done, err := openInterruptible(c.Image)
	if err != nil {
		return err
	}
	defer done()
	out := os.Stdout
	commit := func() error { return nil }
	if c.Output != "" {
		// As with an image: it is there when it is complete.
		t, err := newTarget(c.Output, true)
		if err != nil {
			return plainTarget(err)
		}
		defer t.abandon()
		out, commit = t.f, t.commit
	}
	bar := newProgress("exporting", im.used())
	defer bar.finish()
	b := bufio.NewWriterSize(out, 256<<10)
	if err := exportTo(im, c.Path, tarfile.NewWriter(b), bar); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return plainTarget(commit())
}

// plainTarget takes "image" off an error of a target that is none.
func plainTarget(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), "image "))
}

// used returns how many bytes of the image are in use, about.
func (im *Image) used() int64 {
	var s vfs.StatFS
	if im.fs.StatFS(&s) != 0 || s.Bfree > s.Blocks {
		return -1
	}
	return int64(s.Blocks-s.Bfree) * s.Bsize
}

// exporter writes a tree of an image as an archive.
type exporter struct {
	im    *Image
	w     *tarfile.Writer
	bar   *progress
	base  string // what is cut off the paths
	links map[uint64]*exported
	buf   []byte
}

// exported is a file with several names of which some have not come yet.
type exported struct {
	name string
	left uint32
}

func exportTo(im *Image, path string, w *tarfile.Writer, bar *progress) error {
	x := &exporter{im: im, w: w, bar: bar, base: strings.TrimSuffix(cleanPath(path), "/"), links: make(map[uint64]*exported), buf: make([]byte, 256<<10)}
	t := tree{im: im, enter: x.node}
	if err := t.walk(cleanPath(path), true); err != nil {
		return err
	}
	return w.Close()
}

// name is a path in the archive: relative, with a slash behind a directory.
func (x *exporter) name(n *treeNode) string {
	name := "." + strings.TrimPrefix(n.path, x.base)
	if n.depth == 0 && !n.isDir() {
		name = "./" + n.name
	}
	if n.isDir() && !strings.HasSuffix(name, "/") {
		name += "/"
	}
	return name
}

func (x *exporter) node(n *treeNode) (bool, error) {
	h := tarfile.Header{
		Name: x.name(n), Mode: n.a.Mode & 0o7777, UID: int64(n.a.UID), GID: int64(n.a.GID),
		Mtime: tarfile.Time(n.a.Mtime), Atime: tarfile.Time(n.a.Atime), HasAtime: n.a.Atime != n.a.Mtime,
	}
	if n.path == "/lost+found" && x.base == "" {
		return false, nil // every file system has its own
	}
	if !n.isDir() && n.a.Nlink > 1 {
		if first := x.links[n.a.Ino]; first != nil {
			if first.left--; first.left == 0 {
				delete(x.links, n.a.Ino)
			}
			h = tarfile.Header{Name: h.Name, Type: tarfile.Hardlink, Linkname: first.name, Mode: h.Mode, UID: h.UID, GID: h.GID, Mtime: h.Mtime}
			return false, x.header(n, &h)
		}
		x.links[n.a.Ino] = &exported{h.Name, n.a.Nlink - 1}
	}
	switch n.a.Mode & abi.S_IFMT {
	case abi.S_IFDIR:
		h.Type = tarfile.Directory
	case abi.S_IFREG:
		h.Type, h.Size = tarfile.Regular, n.a.Size
	case abi.S_IFLNK:
		h.Type = tarfile.Symlink
		var e abi.Errno
		if h.Linkname, e = n.d.Node().Readlink(); e != 0 {
			return false, x.im.fail(n.path, e)
		}
	case abi.S_IFIFO:
		h.Type = tarfile.Fifo
	case abi.S_IFCHR, abi.S_IFBLK:
		h.Type = tarfile.Char
		if n.a.Mode&abi.S_IFMT == abi.S_IFBLK {
			h.Type = tarfile.Block
		}
		major, minor := splitDev(n.a.Rdev)
		h.Major, h.Minor = int64(major), int64(minor)
	default:
		fmt.Fprintf(os.Stderr, "pinhole: image %s: %s: is a %s, which an archive cannot hold; left out\n", x.im.path, printable(n.path), typeNames[n.a.Mode&abi.S_IFMT])
		return false, nil
	}
	xattrs, err := x.im.xattrs(n.d, n.path)
	if err != nil {
		return false, err
	}
	for name, value := range xattrs {
		if name != incompleteMark {
			if h.Xattrs == nil {
				h.Xattrs = make(map[string]string)
			}
			h.Xattrs[name] = value
		}
	}
	if h.Type != tarfile.Regular {
		return true, x.header(n, &h)
	}
	data, err := x.im.data(n)
	if err != nil {
		return false, err
	}
	if len(data) != 1 || data[0].Len != h.Size {
		if h.Size > 0 {
			h.Sparse = data
		}
	}
	if err := x.header(n, &h); err != nil {
		return false, err
	}
	for _, s := range data {
		if err := x.copy(n, s); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (x *exporter) header(n *treeNode, h *tarfile.Header) error {
	if err := x.w.Header(h); err != nil {
		return x.im.failWith(n.path, err)
	}
	return nil
}

// xattrs returns a file's extended attributes.
func (im *Image) xattrs(d *vfs.Dentry, path string) (map[string]string, error) {
	x, ok := d.Node().(vfs.XattrNode)
	if !ok {
		return nil, nil
	}
	names, e := x.Listxattr()
	if e == abi.EOPNOTSUPP || e == 0 && len(names) == 0 {
		return nil, nil
	}
	all := make(map[string]string)
	for _, name := range names {
		if e != 0 {
			break
		}
		var v []byte
		if v, e = x.Getxattr(name); e == abi.ENODATA {
			e = 0
			continue
		}
		all[name] = string(v)
	}
	return all, im.fail(path, e)
}

// data lists the parts of a regular file that are not holes. If they are too many for an archive, holes
// that are small are left out.
func (im *Image) data(n *treeNode) ([]tarfile.Segment, error) {
	hs, ok := n.d.Node().(vfs.HoleSeeker)
	if !ok {
		return []tarfile.Segment{{Len: n.a.Size}}, nil
	}
	all := []tarfile.Segment{}
	least := int64(1) // of a hole
	for off := int64(0); off < n.a.Size; {
		start, e := hs.SeekData(off)
		if e == abi.ENXIO {
			break
		}
		end := n.a.Size
		if e == 0 {
			end, e = hs.SeekHole(start)
		}
		if e == 0 && (start < off || end <= start) {
			e = abi.EUCLEAN
		}
		if e != 0 {
			return nil, im.fail(n.path, e)
		}
		end = min(end, n.a.Size)
		if last := len(all) - 1; last >= 0 && start-(all[last].Off+all[last].Len) < least {
			all[last].Len = end - all[last].Off
		} else {
			all = append(all, tarfile.Segment{Off: start, Len: end - start})
		}
		off = end
		if len(all) == tarfile.MaxSegments {
			for ; len(all) > tarfile.MaxSegments/2; least *= 2 {
				kept := all[:1]
				for _, s := range all[1:] {
					if l := &kept[len(kept)-1]; s.Off-(l.Off+l.Len) < least {
						l.Len = s.Off + s.Len - l.Off
					} else {
						kept = append(kept, s)
					}
				}
				all = kept
			}
			if err := stopped(im.ctx); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func (x *exporter) copy(n *treeNode, s tarfile.Segment) error {
	for s.Len > 0 {
		if err := stopped(x.im.ctx); err != nil {
			return err
		}
		m := vfs.Memory(x.buf)
		k, e := n.d.Node().Read(s.Off, int(min(s.Len, int64(len(x.buf)))), &m)
		if e == 0 && k == 0 {
			e = abi.EIO
		}
		if e != 0 {
			return x.im.fail(n.path, e)
		}
		if _, err := x.w.Write(x.buf[:k]); err != nil {
			return err
		}
		s.Off += int64(k)
		s.Len -= int64(k)
		x.bar.add(int64(k))
	}
	return nil
}
