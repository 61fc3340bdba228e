// Package image makes disk images, and looks into them and changes them, without a sandbox: the
// commands "pinhole image". It does what it does with the sandbox's own file system, so that it
// needs neither root nor a loop device.
package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/filedev"
	"pinhole/fs/ext4"
	"pinhole/fs/vfs"
)

// Image is an image file whose file system is mounted in this process. It is locked against
// sandboxes and other commands: to change it, against all; to read it, against who changes it.
type Image struct {
	path string
	f    *os.File
	fs   *ext4.FS
	ns   *vfs.Namespace
	root vfs.Context
	ctx  context.Context // ends what is under way; nil: never
	logs []string        // what the file system has to say
}

// Open opens the image at path, to change it or only to read it.
func Open(path string, write bool) (*Image, error) {
	f, err := openLocked(path, write)
	if err != nil {
		return nil, err
	}
	im, err := mount(path, f, write)
	if err != nil {
		f.Close()
	}
	return im, err
}

// openInterruptible opens an image to look into it until a signal to stop comes; done closes it.
func openInterruptible(path string) (im *Image, done func(), err error) {
	ctx, stop := interruptible()
	im, err = Open(path, false)
	if err != nil {
		stop()
		return nil, nil, err
	}
	im.ctx = ctx
	return im, func() { im.Close(); stop() }, nil
}

// openLocked opens an image file and locks it as a sandbox does. The lock ends with the file.
func openLocked(path string, write bool) (*os.File, error) {
	for {
		f, err := openLockedOnce(path, write)
		if err != nil {
			return nil, err
		}
		// Who had the lock before may have put another file in its place.
		if now, err := os.Stat(path); err == nil {
			if st, err := f.Stat(); err == nil && !os.SameFile(st, now) {
				f.Close()
				continue
			}
		}
		return f, nil
	}
}

func openLockedOnce(path string, write bool) (*os.File, error) {
	flags, lock := os.O_RDONLY, unix.LOCK_SH
	if write {
		flags, lock = os.O_RDWR, unix.LOCK_EX
	}
	// Without O_NONBLOCK the open of a FIFO would wait for its other end.
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("image %s: no such file; make one with \"pinhole image create %s\"", path, path)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("image %s: no permission to open it", path)
	case errors.Is(err, unix.EISDIR):
		return nil, fmt.Errorf("image %s: is a directory", path)
	case err != nil:
		return nil, fmt.Errorf("image: %w", err)
	}
	st, err := f.Stat()
	if err == nil {
		switch mode := st.Mode(); {
		case mode.IsRegular(), mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		case mode.IsDir():
			err = errors.New("is a directory")
		default:
			err = errors.New("neither a file nor a block device")
		}
	}
	if err == nil {
		if err = unix.Flock(int(f.Fd()), lock|unix.LOCK_NB); err == unix.EWOULDBLOCK {
			err = errors.New("in use by a sandbox or another command; wait until that ends, or work on a copy")
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("image %s: %w", path, err)
	}
	return f, nil
}

// mount mounts the file system in f, which belongs to the image if there is no error.
func mount(path string, f *os.File, write bool) (*Image, error) {
	dev, err := filedev.New(f)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", path, err)
	}
	return mountDevice(path, f, dev, write)
}

// mountNew is mount for an image that nobody will see before it is complete and flushed.
func mountNew(path string, f *os.File) (*Image, error) {
	dev, err := filedev.New(f)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", path, err)
	}
	return mountDevice(path, f, unflushed{dev}, true)
}

// unflushed is a device on which order and stability do not matter yet.
type unflushed struct{ blockdev.Device }

func (unflushed) Flush() error { return nil }

// manyNames is how many names are kept in mind of a tree that is gone through once.
const manyNames = 1 << 13

func mountDevice(path string, f *os.File, dev blockdev.Device, write bool) (*Image, error) {
	var err error
	im := &Image{path: path, f: f}
	im.fs, err = ext4.Mount(dev, ext4.Options{
		ReadOnly: !write,
		NoAtime:  true,
		Log:      func(format string, args ...any) { im.logs = append(im.logs, fmt.Sprintf(format, args...)) },
	})
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", path, err)
	}
	im.ns = vfs.NewNamespace(im.fs)
	im.ns.SetCacheLimit(manyNames)
	return im, nil
}

// Close writes everything back and closes the file. After a change, its error is the command's.
func (im *Image) Close() error {
	e := im.ns.Close()
	err := im.f.Close()
	if e != 0 {
		return im.fail("", e)
	}
	return err
}

// fail makes an error for the user of what the file system returned for a path in the image.
func (im *Image) fail(path string, e abi.Errno) error {
	if e == 0 {
		return nil
	}
	var err error = e
	switch e {
	case abi.ENOENT:
		err = errnoError{"no such file or directory in the image", e}
	case abi.ENOSPC:
		err = fmt.Errorf("the image is full (%w); make it larger with \"pinhole image resize %s +SIZE\"", e, im.path)
	case abi.EROFS:
		err = fmt.Errorf("the image can only be read (%w)", e)
		if len(im.logs) > 0 {
			err = fmt.Errorf("%w: %s", err, im.logs[0])
		}
	case abi.EUCLEAN, abi.EIO:
		what := e.Error()
		if len(im.logs) > 0 {
			what = im.logs[0]
		}
		err = errnoError{fmt.Sprintf("%s; look at it with \"pinhole image check %s\", repair it with \"e2fsck -f %s\"", what, im.path, im.path), e}
	}
	return im.failWith(path, err)
}

// errnoError is an errno in other words.
type errnoError struct {
	text string
	e    abi.Errno
}

func (e errnoError) Error() string { return e.text }
func (e errnoError) Unwrap() error { return e.e }

// failWith says of which image, and of what in it, an error is.
func (im *Image) failWith(path string, err error) error {
	if path != "" {
		return fmt.Errorf("image %s: %s: %w", im.path, printable(path), err)
	}
	return fmt.Errorf("image %s: %w", im.path, err)
}

// walk returns what is at path in the image, with a reference, and its attributes. Relative
// paths start at the root.
func (im *Image) walk(path string, follow bool) (*vfs.Dentry, vfs.Attr, error) {
	return im.walkAt(nil, path, path, follow)
}

// entry is walk for an entry of the directory d, which is at dir.
func (im *Image) entry(d *vfs.Dentry, dir, name string) (*vfs.Dentry, vfs.Attr, error) {
	return im.walkAt(d, name, child(dir, name), false)
}

// walkAt is walk from a directory; shown is the path for messages.
func (im *Image) walkAt(at *vfs.Dentry, path, shown string, follow bool) (*vfs.Dentry, vfs.Attr, error) {
	flags := abi.AT_SYMLINK_NOFOLLOW
	if follow {
		flags = 0
	}
	var a vfs.Attr
	d, e := im.ns.Walk(&im.root, at, path, flags)
	if e != 0 {
		return nil, a, im.fail(shown, e)
	}
	if e := d.Attr(&a); e != 0 {
		d.Unref()
		return nil, a, im.fail(shown, e)
	}
	return d, a, nil
}

// list returns the entries of a directory, sorted by name, without "." and "..". Names that no
// system could have made are damage.
func (im *Image) list(d *vfs.Dentry, path string) ([]vfs.DirEntry, error) {
	var all []vfs.DirEntry
	bad := false
	e := im.ns.ReadDir(d, 0, func(entry *vfs.DirEntry) bool {
		bad = bad || entry.Name == "" || strings.ContainsAny(entry.Name, "/\x00")
		if entry.Name != "." && entry.Name != ".." {
			copied := *entry
			copied.Name = strings.Clone(entry.Name)
			all = append(all, copied)
		}
		return true
	})
	if e == 0 && bad {
		e = abi.EUCLEAN
	}
	if e != 0 {
		return nil, im.fail(path, e)
	}
	sortEntries(all)
	return all, nil
}

// child is a name in a directory, as a path.
func child(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}
