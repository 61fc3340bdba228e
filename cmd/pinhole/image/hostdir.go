package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pinhole/fs/vfs"
)

// owners says whose copied files are.
type owners struct {
	keep     bool // as they are on the host
	uid, gid uint32
}

// hostCopy copies files of the host into an image.
type hostCopy struct {
	w      *writer
	owners owners
	links  map[[2]uint64]string // first path in the image of files with several names
}

func newHostCopy(w *writer, o owners) *hostCopy {
	return &hostCopy{w: w, owners: o, links: make(map[[2]uint64]string)}
}

// copy puts the file, or the directory with what is in it, at src on the host to dst in the image.
func (h *hostCopy) copy(src, dst string) error {
	var st unix.Stat_t
	if err := unix.Lstat(src, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: src, Err: err}
	}
	return h.node(src, dst, &st)
}

func (h *hostCopy) meta(src string, st *unix.Stat_t) (meta, error) {
	m := meta{mode: st.Mode & 0o7777, uid: h.owners.uid, gid: h.owners.gid,
		mtime: vfs.Timespec{Sec: st.Mtim.Sec, Nsec: int32(st.Mtim.Nsec)}}
	if h.owners.keep {
		m.uid, m.gid = st.Uid, st.Gid
	}
	var err error
	m.xattrs, err = hostXattrs(src)
	return m, err
}

func (h *hostCopy) node(src, dst string, st *unix.Stat_t) error {
	m, err := h.meta(src, st)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		key := [2]uint64{st.Dev, st.Ino}
		if first, ok := h.links[key]; ok {
			return h.w.link(dst, first)
		}
		h.links[key] = dst
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := h.w.dir(dst, m); err != nil {
			return err
		}
		return h.dir(src, dst)
	case unix.S_IFREG:
		return h.file(src, dst, m)
	case unix.S_IFLNK:
		target, err := os.Readlink(src)
		if err != nil {
			return err
		}
		return h.w.symlink(dst, target, m)
	}
	return h.w.node(dst, st.Mode, st.Rdev, m)
}

func (h *hostCopy) dir(src, dst string) error {
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := h.copy(filepath.Join(src, e.Name()), path.Join(dst, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (h *hostCopy) file(src, dst string, m meta) error {
	f, err := os.OpenFile(src, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: is not a regular file any more", src)
	}
	data, err := dataOf(f, st.Size())
	if err != nil {
		return err
	}
	return at(src, h.w.file(dst, m, content{size: st.Size(), r: &extentReader{f: f, data: slices.Clone(data)}, data: data}))
}

// at names the source in an error that does not name the image.
func at(src string, err error) error {
	if err == nil || strings.HasPrefix(err.Error(), "image ") {
		return err
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		return err
	}
	return fmt.Errorf("%s: %w", src, err)
}

// dataOf lists the parts of a host file that are not holes.
func dataOf(f *os.File, size int64) ([]extent, error) {
	data := []extent{}
	for off := int64(0); off < size; {
		start, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		}
		if err != nil { // the host's file system does not know
			return []extent{{0, size}}, nil
		}
		end, err := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
		if err != nil || end <= start {
			return []extent{{0, size}}, nil
		}
		end = min(end, size)
		data = append(data, extent{start, end - start})
		off = end
	}
	return data, nil
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

// hostXattrs reads the extended attributes that make sense elsewhere: what this host's security
// modules have put on a file does not.
func hostXattrs(src string) (map[string]string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(src, buf)
	for err == unix.ERANGE && len(buf) < 1<<17 {
		buf = make([]byte, 2*len(buf))
		n, err = unix.Llistxattr(src, buf)
	}
	if err == unix.ENOTSUP || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "listxattr", Path: src, Err: err}
	}
	var all map[string]string
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if !keepXattr(name) {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(src, name, value)
		if err == unix.ENODATA {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "getxattr", Path: src, Err: err}
		}
		if all == nil {
			all = make(map[string]string)
		}
		all[name] = string(value[:n])
	}
	return all, nil
}

func keepXattr(name string) bool {
	return strings.HasPrefix(name, "user.") || name == "security.capability"
}

// sizeOf adds up what files of the host will take in an image, in bytes, and counts them.
func sizeOf(src string) (bytes, files int64, err error) {
	seen := make(map[[2]uint64]bool)
	err = filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return &fs.PathError{Op: "stat", Path: p, Err: err}
		}
		files++
		if st.Nlink > 1 && !d.IsDir() {
			key := [2]uint64{st.Dev, st.Ino}
			if seen[key] {
				return nil
			}
			seen[key] = true
		}
		switch {
		case d.Type().IsRegular():
			bytes += min(st.Blocks*512, st.Size+4095) &^ 4095
		case d.IsDir():
			bytes += max(4096, st.Size&^4095)
		}
		return nil
	})
	return bytes, files, err
}
