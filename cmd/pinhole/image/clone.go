package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"pinhole/cmd/pinhole/units"
)

type cloneCmd struct {
	NewUUID bool   `name:"new-uuid" help:"Give the file system of the copy a new UUID, so that a host can mount both."`
	Force   bool   `help:"Replace an existing file."`
	Source  string `arg:"" help:"Image file; not in use by a sandbox that may write to it."`
	Dest    string `arg:"" help:"Image file to make."`
}

// Help is the long text of --help.
func (cloneCmd) Help() string {
	return `Where the host's file system can share the blocks of files (btrfs, XFS, bcachefs), a copy takes no time
and no room; elsewhere it takes as much as is in use in the image, and holes stay holes. The copy has its
name when it is complete.

  pinhole image clone base.img app.img`
}

// Run implements the command.
func (c *cloneCmd) Run() error {
	ctx, done := interruptible()
	defer done()
	src, err := openLocked(c.Source, false)
	if err != nil {
		return err
	}
	defer src.Close()
	return cloneTo(ctx, src, c.Dest, c.Force, func(f *os.File) error {
		if err := checkImage(c.Source, f); err != nil || !c.NewUUID {
			return err
		}
		return newUUID(c.Dest, f)
	})
}

// cloneTo copies an open image to a new file; finish changes the copy before it gets its name.
func cloneTo(ctx context.Context, src *os.File, dest string, force bool, finish func(f *os.File) error) error {
	t, err := newTarget(dest, force)
	if err != nil {
		return err
	}
	defer t.abandon()
	if err := sameOwner(t.f, src); err != nil {
		return fmt.Errorf("image %s: %w", dest, err)
	}
	if err := copyFile(ctx, t.f, src); err != nil {
		return copyError(dest, err)
	}
	if err := finish(t.f); err != nil {
		return err
	}
	return t.commit()
}

func copyError(dest string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("image %s: there is no room for the copy on the host: %w", dest, err)
	}
	if err == ErrInterrupted {
		return err
	}
	return fmt.Errorf("image %s: %w", dest, err)
}

// checkImage refuses to copy what is no image, which is most likely a mistake.
func checkImage(path string, f *os.File) error {
	if _, err := superblock(f); err != nil {
		return fmt.Errorf("image %s: is not an image: %w", path, err)
	}
	return nil
}

const (
	copyChunk = 16 << 20 // between looks at the progress and at whether to stop
	copyRead  = 1 << 20
)

// copyFile makes the empty file dst a copy of src: by sharing blocks if the host can, else of what is not
// a hole.
func copyFile(ctx context.Context, dst, src *os.File) error {
	st, err := src.Stat()
	if err != nil {
		return err
	}
	size := st.Size()
	if st.Mode().IsRegular() {
		if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
			return nil
		}
	} else if size, err = src.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if err := dst.Truncate(size); err != nil {
		return err
	}
	var stat unix.Stat_t
	total := int64(-1)
	if unix.Fstat(int(src.Fd()), &stat) == nil && st.Mode().IsRegular() {
		total = min(stat.Blocks*512, size)
	}
	bar := newProgress("copying", total)
	defer bar.finish()
	c := fileCopier{dst: dst, src: src}
	for off := int64(0); off < size; {
		start, err := unix.Seek(int(src.Fd()), off, unix.SEEK_DATA)
		end := size
		switch {
		case err == unix.ENXIO:
			return nil
		case err == nil:
			off = start
			if end, err = unix.Seek(int(src.Fd()), start, unix.SEEK_HOLE); err != nil {
				return err
			}
			end = min(end, size)
		}
		for off < end {
			if err := stopped(ctx); err != nil {
				return err
			}
			n, err := c.copy(off, min(end-off, copyChunk))
			if err != nil {
				return err
			}
			off += n
			bar.add(n)
		}
	}
	return nil
}

// fileCopier copies parts of a file to the same place in another.
type fileCopier struct {
	dst, src *os.File
	buf      []byte // once the kernel has refused to do it
}

// copy copies at least a byte, and up to n.
func (c *fileCopier) copy(off, n int64) (int64, error) {
	if c.buf == nil {
		from, to := off, off
		k, err := unix.CopyFileRange(int(c.src.Fd()), &from, int(c.dst.Fd()), &to, int(n), 0)
		switch {
		case err == nil && k > 0:
			return int64(k), nil
		case err == unix.ENOSPC || err == unix.EDQUOT || err == unix.EIO:
			return 0, err
		case err == unix.EINTR:
			return 0, nil
		}
		c.buf = make([]byte, copyRead)
	}
	p := c.buf[:min(n, int64(len(c.buf)))]
	k, err := c.src.ReadAt(p, off)
	if k == 0 {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	_, err = c.dst.WriteAt(p[:k], off)
	return int64(k), err
}

// hostSize says how much room a file takes on the host.
func hostSize(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return "?"
	}
	return units.Format(st.Blocks * 512)
}
