package image

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

type lsCmd struct {
	Long      bool     `short:"l" help:"Show mode, links, owner, size and time."`
	Recursive bool     `short:"R" help:"List directories in directories as well."`
	Image     string   `arg:"" help:"Image file."`
	Path      []string `arg:"" optional:"" help:"Files and directories in the image (/)."`
}

// Run implements the command.
func (c *lsCmd) Run() error {
	im, err := Open(c.Image, false)
	if err != nil {
		return err
	}
	defer im.Close()
	out := bufio.NewWriter(os.Stdout)
	l := lister{im: im, out: out, long: c.Long, recursive: c.Recursive}
	paths := c.Path
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	for _, p := range paths {
		if err := l.path(p, len(paths) > 1 || c.Recursive); err != nil {
			out.Flush()
			return err
		}
	}
	return out.Flush()
}

// lister prints as ls(1), one name a line.
type lister struct {
	im        *Image
	out       io.Writer
	long      bool
	recursive bool
	began     bool     // something has been printed
	above     []uint64 // inodes of the directories on the way
}

// path lists what is at p; title puts its name above a directory's entries.
func (l *lister) path(p string, title bool) error {
	d, a, err := l.im.walk(p, !l.long || strings.HasSuffix(p, "/"))
	if err != nil && !l.long {
		// A dangling symbolic link is something to be listed, too.
		d, a, err = l.im.walk(p, false)
	}
	if err != nil {
		return err
	}
	defer d.Unref()
	if !d.IsDir() {
		l.began = true
		return l.lines([]line{{p, d, a}})
	}
	return l.dir(p, d, a.Ino, title)
}

// line is an entry to be shown.
type line struct {
	name string
	d    *vfs.Dentry // held, if long
	a    vfs.Attr
}

func (l *lister) dir(p string, d *vfs.Dentry, ino uint64, title bool) error {
	if slices.Contains(l.above, ino) {
		return l.im.fail(p, abi.EUCLEAN) // it is in itself, which would never end
	}
	l.above = append(l.above, ino)
	defer func() { l.above = l.above[:len(l.above)-1] }()
	if title {
		if l.began {
			fmt.Fprintln(l.out)
		}
		fmt.Fprintf(l.out, "%s:\n", printable(p))
	}
	l.began = true
	entries, err := l.im.list(d, p)
	if err != nil {
		return err
	}
	if !l.long {
		for _, e := range entries {
			fmt.Fprintln(l.out, printable(e.Name))
		}
	} else {
		var lines []line
		defer func() {
			for _, e := range lines {
				e.d.Unref()
			}
		}()
		for _, e := range entries {
			ed, a, err := l.im.entry(d, p, e.Name)
			if err != nil {
				return err
			}
			lines = append(lines, line{e.Name, ed, a})
		}
		if err := l.lines(lines); err != nil {
			return err
		}
	}
	if !l.recursive {
		return nil
	}
	for _, e := range entries {
		if e.Type != abi.DT_DIR {
			continue
		}
		sub := child(p, e.Name)
		sd, a, err := l.im.entry(d, p, e.Name)
		if err != nil {
			return err
		}
		err = l.dir(sub, sd, a.Ino, true)
		sd.Unref()
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) lines(lines []line) error {
	if !l.long {
		for _, e := range lines {
			fmt.Fprintln(l.out, printable(e.name))
		}
		return nil
	}
	var rows [][]string
	var widths [5]int
	for _, e := range lines {
		size := fmt.Sprint(e.a.Size)
		switch e.a.Mode & abi.S_IFMT {
		case abi.S_IFCHR, abi.S_IFBLK:
			major, minor := splitDev(e.a.Rdev)
			size = fmt.Sprintf("%d,%d", major, minor)
		}
		name := printable(e.name)
		if e.a.Mode&abi.S_IFMT == abi.S_IFLNK {
			target, errno := e.d.Node().Readlink()
			if errno != 0 {
				return l.im.fail(e.name, errno)
			}
			name += " -> " + printable(target)
		}
		when := time.Unix(e.a.Mtime.Sec, int64(e.a.Mtime.Nsec)).Format("2006-01-02 15:04:05")
		row := []string{modeString(e.a.Mode), fmt.Sprint(e.a.Nlink), fmt.Sprint(e.a.UID), fmt.Sprint(e.a.GID), size, when, name}
		for i := range widths {
			widths[i] = max(widths[i], len(row[i]))
		}
		rows = append(rows, row)
	}
	for _, row := range rows {
		for i, w := range widths {
			fmt.Fprintf(l.out, "%*s ", w, row[i])
		}
		fmt.Fprintln(l.out, row[5], row[6])
	}
	return nil
}

// modeString shows a mode as ls(1): "-rwxr-xr-x".
func modeString(mode uint32) string {
	const types = "?pc?d?b?-?l?s???"
	b := []byte("?rwxrwxrwx")
	b[0] = types[mode>>12&15]
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	special := func(bit uint32, at int, with, without byte) {
		if mode&bit == 0 {
			return
		}
		if b[at] == 'x' {
			b[at] = with
		} else {
			b[at] = without
		}
	}
	special(abi.S_ISUID, 3, 's', 'S')
	special(abi.S_ISGID, 6, 's', 'S')
	special(abi.S_ISVTX, 9, 't', 'T')
	return string(b)
}

func splitDev(dev uint64) (major, minor uint64) {
	return dev>>8&0xfff | dev>>32&^0xfff, dev&0xff | dev>>12&^0xff
}

// printable shows a name of the image on a terminal without letting it control that.
func printable(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' || r >= 0x80 && r < 0xa0 }) < 0 {
		return name
	}
	q := fmt.Sprintf("%q", name)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

func sortEntries(all []vfs.DirEntry) {
	slices.SortFunc(all, func(a, b vfs.DirEntry) int { return cmp.Compare(a.Name, b.Name) })
}

type catCmd struct {
	Image string   `arg:"" help:"Image file."`
	Path  []string `arg:"" help:"Files in the image."`
}

// Run implements the command.
func (c *catCmd) Run() error {
	im, err := Open(c.Image, false)
	if err != nil {
		return err
	}
	defer im.Close()
	for _, p := range c.Path {
		d, a, err := im.walk(p, true)
		if err != nil {
			return err
		}
		if a.Mode&abi.S_IFMT != abi.S_IFREG {
			d.Unref()
			return fmt.Errorf("image %s: %s: is not a regular file", im.path, p)
		}
		err = im.read(d, path.Clean(p), a.Size, os.Stdout)
		d.Unref()
		if err != nil {
			return err
		}
	}
	return nil
}

// read writes the content of a file to w, holes as zeros.
func (im *Image) read(d *vfs.Dentry, p string, size int64, w io.Writer) error {
	buf := make([]byte, 256<<10)
	for off := int64(0); off < size; {
		m := vfs.Memory(buf)
		n, e := d.Node().Read(off, len(buf), &m)
		if e != 0 {
			return im.fail(p, e)
		}
		if n == 0 {
			break
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}
