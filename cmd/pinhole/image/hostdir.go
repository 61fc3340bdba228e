package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pinhole/fs/vfs"
)

// owners says whose copied files are.
type owners struct {
	keep     bool // as they are on the host
	uid, gid uint32
}

// hostCopy copies files of the host into an image. Below where it starts it goes by open directories, and
// follows no symbolic link, whatever happens to the files meanwhile.
type hostCopy struct {
	w      *writer
	owners owners
	links  map[[2]uint64]*linked // files with several names
}

// linked is a file that has more names than were seen so far.
type linked struct {
	d    *vfs.Dentry // held
	left uint64
}

func newHostCopy(w *writer, o owners) *hostCopy {
	return &hostCopy{w: w, owners: o, links: make(map[[2]uint64]*linked)}
}

// close lets go of what it holds in the image.
func (h *hostCopy) close() {
	for _, l := range h.links {
		l.d.Unref()
	}
	clear(h.links)
}

// hostFile is a file of the host, by a name in an open directory.
type hostFile struct {
	dir  int // descriptor
	name string
	path string // for messages
}

// link is a path to the file for calls that take no directory.
func (f hostFile) link() string { return "/proc/self/fd/" + strconv.Itoa(f.dir) + "/" + f.name }

func (f hostFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}

// copy puts the file, or the directory with what is in it, at src on the host to a place in the image.
func (h *hostCopy) copy(src string, pl place) error {
	dir, name := filepath.Split(filepath.Clean(src))
	if name == "" || name == "." || name == ".." {
		dir, name = src, "."
	}
	if dir == "" {
		dir = "."
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return h.node(hostFile{fd, name, src}, pl)
}

// copyDir puts what is in the directory src, which may be reached by a link, into the directory at a place.
func (h *hostCopy) copyDir(src string, pl place) error {
	fd, err := unix.Open(src, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: src, Err: err}
	}
	defer unix.Close(fd)
	return h.node(hostFile{fd, ".", src}, pl)
}

func (h *hostCopy) meta(f hostFile, st *unix.Stat_t) (*meta, error) {
	m := &meta{mode: st.Mode & 0o7777, uid: h.owners.uid, gid: h.owners.gid,
		mtime: vfs.Timespec{Sec: st.Mtim.Sec, Nsec: int32(st.Mtim.Nsec)},
		atime: vfs.Timespec{Sec: st.Atim.Sec, Nsec: int32(st.Atim.Nsec)}}
	if h.owners.keep {
		m.uid, m.gid = st.Uid, st.Gid
	}
	var err error
	m.xattrs, err = hostXattrs(f)
	return m, err
}

func (h *hostCopy) node(f hostFile, pl place) error {
	if err := stopped(h.w.im.ctx); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(f.dir, f.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return f.fail("stat", err)
	}
	m, err := h.meta(f, &st)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return h.dir(f, pl, m)
	}
	key := [2]uint64{st.Dev, st.Ino}
	if first, ok := h.links[key]; ok {
		err := h.w.link(pl, first.d)
		if first.left--; first.left == 0 {
			first.d.Unref()
			delete(h.links, key)
		}
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		err = h.file(f, pl, m)
	case unix.S_IFLNK:
		var target string
		if target, err = f.readlink(); err == nil {
			err = h.w.symlink(pl, target, m)
		}
	default:
		err = h.w.node(pl, st.Mode, st.Rdev, m)
	}
	if err == nil && st.Nlink > 1 {
		var d *vfs.Dentry
		if d, err = h.w.made(pl); err == nil {
			h.links[key] = &linked{d, uint64(st.Nlink) - 1}
		}
	}
	return err
}

func (f hostFile) readlink() (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(f.dir, f.name, buf)
		if err != nil {
			return "", f.fail("readlink", err)
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

func (h *hostCopy) dir(f hostFile, pl place, m *meta) error {
	fd, err := unix.Openat(f.dir, f.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return f.fail("open", err)
	}
	dir := os.NewFile(uintptr(fd), f.path)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	d, fresh, err := h.w.makeDir(pl)
	if err != nil {
		return err
	}
	defer d.Unref()
	for _, name := range names {
		if err := h.node(hostFile{fd, name, filepath.Join(f.path, name)}, pl.in(name, d)); err != nil {
			return err
		}
	}
	return h.w.finish(d, pl.path, m, fresh)
}

func (h *hostCopy) file(hf hostFile, pl place, m *meta) error {
	fd, err := unix.Openat(hf.dir, hf.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return hf.fail("open", err)
	}
	f := os.NewFile(uintptr(fd), hf.path)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: is not a regular file any more", hf.path)
	}
	data := dataOf(f, st.Size())
	return at(hf.path, h.w.file(pl, m, content{size: st.Size(), r: &extentReader{f: f, data: slices.Clone(data)}, data: data}))
}

// at names the source in an error that does not name the image.
func at(src string, err error) error {
	if err == nil || err == ErrInterrupted || strings.HasPrefix(err.Error(), "image ") {
		return err
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		return err
	}
	return fmt.Errorf("%s: %w", src, err)
}

// dataOf lists the parts of a host file that are not holes. Where the host does not know, that is all of it.
func dataOf(f *os.File, size int64) []extent {
	data := []extent{}
	for off := int64(0); off < size; {
		start, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		}
		if err != nil {
			return []extent{{0, size}}
		}
		end, err := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
		if err != nil || end <= start {
			return []extent{{0, size}}
		}
		end = min(end, size)
		data = append(data, extent{start, end - start})
		off = end
	}
	return data
}

// extentReader reads the parts of a file one after the other.
type extentReader struct {
	f    *os.File
	data []extent
}

func (r *extentReader) Read(p []byte) (int, error) {
	for len(r.data) > 0 && r.data[0].n == 0 {
		r.data = r.data[1:]
	}
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	x := &r.data[0]
	n, err := r.f.ReadAt(p[:min(int64(len(p)), x.n)], x.off)
	x.off += int64(n)
	x.n -= int64(n)
	return n, err
}

// hostXattrs reads the extended attributes that make sense elsewhere: what this host's security modules
// have put on a file does not.
func hostXattrs(f hostFile) (map[string]string, error) {
	buf := make([]byte, 1024)
	n, err := unix.Llistxattr(f.link(), buf)
	for err == unix.ERANGE && len(buf) < 1<<17 {
		buf = make([]byte, 4*len(buf))
		n, err = unix.Llistxattr(f.link(), buf)
	}
	if err == unix.ENOTSUP || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, f.fail("listxattr", err)
	}
	var all map[string]string
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if !keepXattr(name) {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(f.link(), name, value)
		if err == unix.ENODATA {
			continue
		}
		if err != nil {
			return nil, f.fail("getxattr", err)
		}
		if all == nil {
			all = make(map[string]string)
		}
		all[name] = string(value[:n])
	}
	return all, nil
}

// keepXattr tells whether an attribute goes along with a file.
func keepXattr(name string) bool {
	switch {
	case name == incompleteMark:
		return false
	case strings.HasPrefix(name, "user."), strings.HasPrefix(name, "trusted."),
		name == "security.capability", name == aclAccess, name == aclDefault:
		return true
	}
	return false
}

// tally adds up what files will take in an image.
type tally struct {
	bytes int64 // of content
	files int64
	room  int64 // in blocks, with directories and the like
}

func (t *tally) add(bytes int64, dir bool) {
	t.files++
	t.bytes += bytes
	t.room += (bytes + 4095) &^ 4095
	if dir {
		t.room += 4096
	}
}

// sizeOf adds up what files of the host will take.
func sizeOf(src string) (t tally, err error) {
	seen := make(map[[2]uint64]bool)
	err = filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return &fs.PathError{Op: "stat", Path: p, Err: err}
		}
		if st.Nlink > 1 && !d.IsDir() {
			key := [2]uint64{st.Dev, st.Ino}
			if seen[key] {
				return nil
			}
			seen[key] = true
		}
		switch {
		case d.Type().IsRegular():
			// Holes take no room; and what is preallocated will not be.
			t.add(min(st.Blocks*512, st.Size), false)
		case d.IsDir():
			t.add(0, true)
			t.room += st.Size &^ 4095
		default:
			t.add(0, st.Size > 59)
		}
		return nil
	})
	return t, err
}
