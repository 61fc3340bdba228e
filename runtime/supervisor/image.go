package supervisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"pinhole/blockdev"
)

// Image is an opened and locked disk image. The lock ends with the process.
type Image struct {
	name     string
	file     *os.File
	size     int64 // bytes, a multiple of blockdev.SectorSize
	readOnly bool
}

// OpenImage opens the image at path and locks it: exclusively to write it, shared to only read it.
func OpenImage(path string, readOnly bool) (*Image, error) {
	flags, lock := os.O_RDWR, unix.LOCK_EX
	if readOnly {
		flags, lock = os.O_RDONLY, unix.LOCK_SH
	}
	// Without O_NONBLOCK the open of a FIFO would wait for its other end.
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("image %s: no such file; make one with \"pinhole image create %s\"", path, path)
	case errors.Is(err, os.ErrPermission) && !readOnly:
		return nil, fmt.Errorf("image %s: no permission to write it; change its mode, or add --read-only", path)
	case errors.Is(err, unix.EISDIR):
		return nil, fmt.Errorf("image %s: is a directory; make an image of it with \"pinhole image create --from %s IMAGE\"", path, path)
	case err != nil:
		return nil, fmt.Errorf("image: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), lock|unix.LOCK_NB); err != nil {
		f.Close()
		if err != unix.EWOULDBLOCK {
			return nil, fmt.Errorf("image %s: cannot be locked: %w", path, err)
		}
		if readOnly {
			return nil, fmt.Errorf("image %s: another pinhole is writing it; wait until that ends, or use a copy", path)
		}
		return nil, fmt.Errorf("image %s: in use by another pinhole; wait until that ends, use a copy, or let all of them run with --read-only", path)
	}
	// Who had the lock before may have put another file in its place ("pinhole image resize").
	if now, err := os.Stat(path); err == nil {
		if st, err := f.Stat(); err == nil && !os.SameFile(st, now) {
			f.Close()
			return OpenImage(path, readOnly)
		}
	}
	i, err := newImage(f, path, readOnly)
	if err != nil {
		f.Close()
	}
	return i, err
}

// MemoryImage takes over a file that lives in memory only (a memfd) as an image that may be written.
func MemoryImage(f *os.File, name string) (*Image, error) { return newImage(f, name, false) }

func newImage(f *os.File, name string, readOnly bool) (*Image, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	switch size := st.Size(); {
	case st.IsDir():
		return nil, fmt.Errorf("image %s: is a directory", name)
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("image %s: is not a regular file (copy a device's content into one first)", name)
	case size < blockdev.PageSize:
		return nil, fmt.Errorf("image %s: is not a disk image: it has only %d bytes", name, size)
	default:
		// What is behind the last whole sector belongs to no file system.
		return &Image{name: name, file: f, size: size / blockdev.SectorSize * blockdev.SectorSize, readOnly: readOnly}, nil
	}
}

// Close lets go of the image and its lock.
func (i *Image) Close() error { return i.file.Close() }

// reader opens the image a second time, for reading only: what the sandbox gets must not be
// able to write even if it could say so.
func (i *Image) reader() (*os.File, error) {
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(i.file.Fd())), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("image %s: cannot be opened for the sandbox (is /proc mounted?): %w", i.name, err)
	}
	return os.NewFile(uintptr(fd), i.name), nil
}
