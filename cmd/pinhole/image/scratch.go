package image

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"pinhole/fs/ext4/mkfs"
	"pinhole/fs/vfs"
)

// HostFile describes a file, directory or symbolic link of the host, to be put into a new image at
// the absolute path to. Its content is shared with the file, which Scratch notices if it changes.
func HostFile(from, to string) (mkfs.File, error) {
	f := mkfs.File{Path: to}
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return f, &fs.PathError{Op: "lstat", Path: from, Err: err}
	}
	f.Mode, f.UID, f.GID, f.Time = st.Mode, st.Uid, st.Gid, time.Unix(st.Mtim.Unix())
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		f.Content = []byte(target)
		return f, err
	case unix.S_IFREG:
		h, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return f, err
		}
		defer h.Close()
		if st.Size < mapFrom {
			f.Content, err = os.ReadFile(from)
		} else {
			f.Content, err = mapFile(h, st.Size)
		}
		return f, err
	case unix.S_IFDIR:
		return f, nil
	}
	return f, fmt.Errorf("%s: is neither file, directory nor symbolic link", from)
}

// mapFrom is the size from which a file is mapped and not read, in bytes. What is mapped stays so, for
// the programs that use it are short-lived.
const mapFrom = 128 << 10

// Scratch makes an image in memory that holds files, and what programs expect of any system where
// files do not say otherwise; about room more bytes can be written to it.
func Scratch(files []mkfs.File, room int64) (_ *os.File, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(interface{ Addr() uintptr }); !ok {
				panic(p)
			}
			err = errors.New("throw-away image: a file changed, or cannot be read, while it was copied")
		}
	}()
	have := make(map[string]bool, len(files))
	size := room
	for _, f := range files {
		have[f.Path] = true
		size += int64(len(f.Content)) + 4096
	}
	var all []mkfs.File
	for _, f := range throwawayFiles {
		if !have[f.Path] {
			all = append(all, f)
		}
	}
	return memory(size, mkfs.Options{Label: "throw-away", NoJournal: true, NoResize: true, Files: append(all, files...),
		Inodes: uint64(len(files)) + 1<<14})
}

// CheckImage refuses a file that is not there, or that ScratchCopy cannot take for an image.
func CheckImage(path string) error {
	f, err := openLocked(path, false)
	if err != nil {
		return err
	}
	defer f.Close()
	return checkImage(path, f)
}

// ScratchCopy makes a copy of the image at path that has files, too. It has no name and takes no more
// room than the image; on the disk of temporary files.
func ScratchCopy(path string, files []mkfs.File) (_ *os.File, err error) {
	ctx, done := interruptible()
	defer done()
	src, err := openLocked(path, false)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	f, err := os.CreateTemp("", "pinhole-image-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err = os.Remove(f.Name()); err == nil {
		err = copyFile(ctx, f, src)
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: copying it: %w", path, err)
	}
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	im, err := mount(path, again, true)
	if err != nil {
		again.Close()
		return nil, err
	}
	return f, im.edit(ctx, func(w *writer) error {
		for _, f := range files {
			if err := w.scratch(&f); err != nil {
				return err
			}
		}
		return nil
	})
}

// scratch puts a file into the image, in the place of what is there.
func (w *writer) scratch(f *mkfs.File) error {
	mtime := vfs.Timespec{Sec: f.Time.Unix(), Nsec: int32(f.Time.Nanosecond())}
	if f.Time.IsZero() {
		mtime.Sec = time.Now().Unix()
	}
	m := &meta{mode: f.Mode & 0o7777, uid: f.UID, gid: f.GID, mtime: mtime, atime: mtime}
	pl, err := w.at(cleanPath(f.Path), true)
	if err != nil {
		return err
	}
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		d, err := w.dir(pl, m)
		if err == nil {
			d.Unref()
		}
		return err
	case unix.S_IFLNK:
		return w.symlink(pl, string(f.Content), m)
	}
	return w.file(pl, m, content{size: int64(len(f.Content)), r: bytes.NewReader(f.Content)})
}

// Fetch copies files and directories out of an image that nobody uses, whatever it holds: paths has their
// paths in the image and on the host. Those that are not there are left out, and so is in directories
// what is neither a file nor a directory.
func Fetch(f *os.File, paths map[string]string) error { return fetch(f, paths, false) }

// FetchNew is Fetch, but files that are on the host already stay as they are.
func FetchNew(f *os.File, paths map[string]string) error { return fetch(f, paths, true) }

func fetch(f *os.File, paths map[string]string, keep bool) error {
	name := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	again, err := os.Open(name)
	if err != nil {
		return err
	}
	im, err := mount("throw-away", again, false)
	if err != nil {
		again.Close()
		return err
	}
	defer im.Close()
	for from, to := range paths {
		d, a, err := im.walk(from, true)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = fetchOne(im, d, &a, from, to, keep)
		d.Unref()
		if err != nil {
			return err
		}
	}
	return nil
}

func fetchOne(im *Image, d *vfs.Dentry, a *vfs.Attr, from, to string, keep bool) error {
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	g := newGetter(im, root, dir, newProgress("copying", -1))
	g.plain, g.keep = true, keep
	return g.copy(d, a, from, filepath.Base(to))
}
