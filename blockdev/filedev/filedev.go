// Package filedev is a block device over a file of the host, for programs outside of the sandbox.
package filedev

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"pinhole/blockdev"
)

const (
	sector = 512
	maxIov = 1024 // UIO_MAXIOV
)

// Device is an open file as a [blockdev.Device].
type Device struct {
	f    *os.File
	size int64
}

// New makes a device of a regular file or block device, which stays the caller's to close. Its
// size is rounded down to whole sectors of 512 bytes.
func New(f *os.File) (*Device, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := st.Size()
	if st.Mode()&os.ModeDevice != 0 {
		if size, err = f.Seek(0, 2); err != nil {
			return nil, err
		}
	} else if !st.Mode().IsRegular() {
		return nil, &os.PathError{Op: "open", Path: f.Name(), Err: errors.New("neither a file nor a block device")}
	}
	return &Device{f: f, size: size / sector * sector}, nil
}

// Size implements blockdev.Device.
func (d *Device) Size() int64 { return d.size }

// ReadAt implements blockdev.Device.
func (d *Device) ReadAt(p []byte, off int64) error {
	if err := d.check("read", off, len(p)); err != nil {
		return err
	}
	if n, err := d.f.ReadAt(p, off); err != nil {
		return fmt.Errorf("read of %d bytes at %d, failed after %d: %w", len(p), off, n, plain(err))
	}
	return nil
}

func (d *Device) check(what string, off int64, n int) error {
	if off < 0 || off > d.size || int64(n) > d.size-off {
		return fmt.Errorf("%s of %d bytes at %d: beyond the device's %d bytes", what, n, off, d.size)
	}
	return nil
}

// plain takes the path and operation off an error of package os: the caller names them.
func plain(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// WriteV implements blockdev.Device: neighbours go out in one call.
func (d *Device) WriteV(v []blockdev.Vec) error {
	for _, w := range v {
		if err := d.check("write", w.Off, len(w.Data)); err != nil {
			return err
		}
		if w.Off%sector != 0 || len(w.Data)%sector != 0 {
			return fmt.Errorf("write of %d bytes at %d: not whole sectors", len(w.Data), w.Off)
		}
	}
	if !slices.IsSortedFunc(v, byOffset) {
		v = slices.Clone(v)
		slices.SortStableFunc(v, byOffset)
	}
	var iov [64]syscall.Iovec
	for len(v) > 0 {
		run := iov[:0]
		off, end := v[0].Off, v[0].Off
		for len(v) > 0 && v[0].Off == end && len(run) < maxIov {
			if n := len(v[0].Data); n > 0 {
				run = append(run, syscall.Iovec{Base: unsafe.SliceData(v[0].Data), Len: uint64(n)})
				end += int64(n)
			}
			v = v[1:]
		}
		if err := d.pwritev(run, off); err != nil {
			return fmt.Errorf("write of %d bytes at %d: %w", end-off, off, err)
		}
	}
	return nil
}

func byOffset(a, b blockdev.Vec) int { return cmp.Compare(a.Off, b.Off) }

// pwritev writes all of iov, which it uses up.
func (d *Device) pwritev(iov []syscall.Iovec, off int64) error {
	conn, err := d.f.SyscallConn()
	if err != nil {
		return plain(err)
	}
	for len(iov) > 0 {
		var n uintptr
		var errno syscall.Errno
		err := conn.Control(func(fd uintptr) {
			n, _, errno = syscall.Syscall6(syscall.SYS_PWRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(iov))),
				uintptr(len(iov)), uintptr(off), 0, 0)
		})
		switch {
		case err != nil:
			return plain(err)
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return hostError(errno)
		case n == 0:
			return hostError(syscall.ENOSPC)
		}
		off += int64(n)
		for len(iov) > 0 && uint64(n) >= iov[0].Len {
			n -= uintptr(iov[0].Len)
			iov = iov[1:]
		}
		if len(iov) > 0 {
			iov[0].Base = (*byte)(unsafe.Add(unsafe.Pointer(iov[0].Base), n))
			iov[0].Len -= uint64(n)
		}
	}
	return nil
}

// hostError makes blockdev.ErrNoSpace of what the host says when there is no room for the file.
func hostError(errno syscall.Errno) error {
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG:
		return fmt.Errorf("%w: %w", blockdev.ErrNoSpace, errno)
	}
	return errno
}

// Flush implements blockdev.Device with fdatasync(2).
func (d *Device) Flush() error {
	conn, err := d.f.SyscallConn()
	if err != nil {
		return plain(err)
	}
	var sync error
	if err := conn.Control(func(fd uintptr) { sync = syscall.Fdatasync(int(fd)) }); err != nil {
		return plain(err)
	}
	if errno, ok := sync.(syscall.Errno); ok {
		return fmt.Errorf("flush: %w", hostError(errno))
	}
	return nil
}
