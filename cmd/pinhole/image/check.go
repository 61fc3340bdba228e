package image

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

type checkCmd struct {
	Data   bool   `help:"Read the content of all files as well."`
	E2fsck bool   `name:"e2fsck" help:"Let e2fsck of the host check, too; it finds more."`
	Image  string `arg:"" help:"Image file."`
}

// Run implements the command.
func (c *checkCmd) Run() error {
	im, err := Open(c.Image, false)
	if err != nil {
		return err
	}
	defer im.Close()
	k := &checker{im: im, data: c.Data, files: make(map[uint64]*found)}
	k.run()
	if c.E2fsck {
		if err := k.e2fsck(); err != nil {
			return err
		}
	}
	for _, line := range im.logs {
		k.problem("", "%s", line)
	}
	for _, p := range k.problems {
		fmt.Println(p)
	}
	if k.count > 0 {
		if more := k.count - len(k.problems); more > 0 {
			fmt.Printf("and %d more\n", more)
		}
		return fmt.Errorf("image %s: damaged (%d problems); repair it with \"e2fsck -f %s\"", c.Image, k.count, c.Image)
	}
	fmt.Printf("%s: no damage found (%d files, %d directories)\n", c.Image, len(k.files), k.dirs)
	return nil
}

// checker walks the whole tree. The file system checks checksums and structures as it reads them;
// here is what takes looking at all of it.
type checker struct {
	im       *Image
	data     bool
	files    map[uint64]*found // all that are not directories, by inode number
	dirs     int
	problems []string
	count    int
	buf      []byte
	bar      *progress
}

// found is a file with the names seen so far.
type found struct {
	path  string
	nlink uint32
	names uint32
}

// mostProblems bounds what is shown.
const mostProblems = 50

func (k *checker) problem(path, format string, args ...any) {
	k.count++
	if len(k.problems) < mostProblems {
		text := fmt.Sprintf(format, args...)
		if path != "" {
			text = printable(path) + ": " + text
		}
		k.problems = append(k.problems, text)
	}
}

func (k *checker) run() {
	k.buf = make([]byte, 256<<10)
	root, a, err := k.im.walk("/", true)
	if err != nil {
		k.problem("/", "%v", err)
		return
	}
	k.bar = newProgress("checking", -1)
	k.dir(root, &a, "/")
	root.Unref()
	k.bar.finish()
	for _, f := range k.files {
		if f.names != f.nlink {
			k.problem(f.path, "has %d names, but a link count of %d", f.names, f.nlink)
		}
	}
	if k.count == 0 {
		k.inodes()
	}
}

func (k *checker) dir(d *vfs.Dentry, a *vfs.Attr, path string) {
	k.dirs++
	entries, err := k.im.list(d, path)
	if err != nil {
		k.problem(path, "cannot be read: %v", plainError(err))
		return
	}
	subdirs := uint32(0)
	for i, e := range entries {
		p := child(path, e.Name)
		if i > 0 && entries[i-1].Name == e.Name {
			k.problem(p, "is there twice")
			continue
		}
		ed, ea, err := k.im.entry(d, path, e.Name)
		if err != nil {
			k.problem(p, "cannot be read: %v", plainError(err))
			continue
		}
		if e.Type != abi.DT_UNKNOWN && uint32(e.Type)<<12 != ea.Mode&abi.S_IFMT {
			k.problem(p, "the directory says it is a %s, but it is a %s", typeNames[uint32(e.Type)<<12], typeNames[ea.Mode&abi.S_IFMT])
		}
		if ed.IsDir() {
			subdirs++
			k.parent(ed, a, p)
			k.dir(ed, &ea, p)
		} else {
			k.file(ed, &ea, p)
		}
		ed.Unref()
	}
	// 1 stands for more than can be counted.
	if a.Nlink != subdirs+2 && a.Nlink != 1 {
		k.problem(path, "has %d directories in it, but a link count of %d", subdirs, a.Nlink)
	}
}

// parent checks that ".." of a directory is where it was found.
func (k *checker) parent(d *vfs.Dentry, parent *vfs.Attr, path string) {
	e := d.Node().ReadDir(0, func(entry *vfs.DirEntry) bool {
		if entry.Name == ".." && entry.Ino != parent.Ino {
			k.problem(path, "its .. is inode %d, not %d", entry.Ino, parent.Ino)
		}
		return entry.Name != ".."
	})
	if e != 0 {
		k.problem(path, "cannot be read: %v", e)
	}
}

func (k *checker) file(d *vfs.Dentry, a *vfs.Attr, path string) {
	f := k.files[a.Ino]
	if f != nil {
		f.names++
		return
	}
	k.files[a.Ino] = &found{path: path, nlink: a.Nlink, names: 1}
	switch a.Mode & abi.S_IFMT {
	case abi.S_IFLNK:
		if target, e := d.Node().Readlink(); e != 0 {
			k.problem(path, "cannot be read: %v", e)
		} else if int64(len(target)) != a.Size {
			k.problem(path, "has a target of %d bytes, but a size of %d", len(target), a.Size)
		}
	case abi.S_IFREG:
		if e := k.extents(d, a.Size); e != 0 {
			k.problem(path, "cannot be read: %v", e)
		} else if k.data {
			if e := k.content(d, a.Size); e != 0 {
				k.problem(path, "cannot be read: %v", e)
			}
		}
	}
}

// extents goes once through the map of a file's blocks.
func (k *checker) extents(d *vfs.Dentry, size int64) abi.Errno {
	h, ok := d.Node().(vfs.HoleSeeker)
	if !ok {
		return 0
	}
	for off := int64(0); off < size; {
		data, e := h.SeekData(off)
		if e == abi.ENXIO {
			return 0
		}
		if e == 0 {
			off, e = h.SeekHole(data)
		}
		if e != 0 {
			return e
		}
	}
	return 0
}

func (k *checker) content(d *vfs.Dentry, size int64) abi.Errno {
	h, _ := d.Node().(vfs.HoleSeeker)
	for off := int64(0); off < size; {
		if h != nil {
			data, e := h.SeekData(off)
			if e == abi.ENXIO {
				return 0
			}
			if e != 0 {
				return e
			}
			off = data
		}
		m := vfs.Memory(k.buf)
		n, e := d.Node().Read(off, len(k.buf), &m)
		if e != 0 {
			return e
		}
		if n == 0 {
			return abi.EIO
		}
		off += int64(n)
		k.bar.add(int64(n))
	}
	return 0
}

// inodes compares how many inodes are in use with how many were found.
func (k *checker) inodes() {
	s, err := superblock(k.im.f)
	var st vfs.StatFS
	if err != nil || k.im.fs.StatFS(&st) != 0 {
		return
	}
	// Inodes below the first are reserved and always in use; the root is one of them.
	reserved := uint64(s.FirstIno) - 1
	have := uint64(len(k.files)+k.dirs) - 1 + reserved
	if s.HasCompat(disk.CompatOrphanFile) {
		have++
	}
	if used := st.Files - st.Ffree; used != have {
		k.problem("", "%d inodes are in use, but %d have names", used, have)
	}
}

// plainError takes what every message of Image.fail begins and ends with off.
func plainError(err error) error {
	var e abi.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

// e2fsck runs e2fsck, which only looks.
func (k *checker) e2fsck() error {
	tool, err := findTool("e2fsck")
	if err != nil {
		return err
	}
	cmd := exec.Command(tool, "-fn", "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{k.im.f}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit) || exit.ExitCode() >= 8:
		return fmt.Errorf("%s: %w: %s", tool, err, strings.TrimSpace(string(out)))
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "Pass ") && !strings.HasPrefix(line, "e2fsck ") && !strings.HasPrefix(line, "/proc/self/fd/") {
			k.problem("", "e2fsck: %s", line)
		}
	}
	return nil
}
