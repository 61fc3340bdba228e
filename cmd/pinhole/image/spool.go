package image

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"pinhole/cmd/pinhole/image/tarfile"
)

// peeker lets a stream's beginning be looked at before it is read.
type peeker struct {
	r    io.Reader
	head []byte
}

// name returns the name of the first entry of the archive that the stream is.
func (p *peeker) name() string {
	p.head = make([]byte, 8<<10) // room for a long name, and headers in front of it
	n, _ := io.ReadFull(p.r, p.head)
	p.head = p.head[:n]
	h, err := tarfile.NewReader(&cutReader{p.head}).Next()
	if err != nil {
		return "?"
	}
	return h.Name
}

type cutReader struct{ p []byte }

func (c *cutReader) Read(p []byte) (int, error) {
	if len(c.p) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.p)
	c.p = c.p[n:]
	return n, nil
}

func (p *peeker) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.r.Read(b)
}

// spool copies a stream into a file without a name.
func spool(ctx context.Context, r io.Reader) (*os.File, int64, error) {
	dir := os.TempDir()
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	var f *os.File
	if err == nil {
		f = os.NewFile(uintptr(fd), "temporary file in "+dir)
	} else if f, err = os.CreateTemp("", "pinhole-import-"); err == nil {
		os.Remove(f.Name())
	}
	if err != nil {
		return nil, 0, fmt.Errorf("cannot keep a copy in %s (TMPDIR says where): %w", dir, err)
	}
	bar := newProgress("reading", -1)
	defer bar.finish()
	buf := make([]byte, 1<<20)
	n := int64(0)
	for {
		if err := stopped(ctx); err != nil {
			f.Close()
			return nil, 0, err
		}
		k, err := r.Read(buf)
		if k > 0 {
			if _, werr := f.Write(buf[:k]); werr != nil {
				f.Close()
				return nil, 0, fmt.Errorf("cannot keep a copy in %s (TMPDIR says where): %w", dir, werr)
			}
			n += int64(k)
			bar.add(int64(k))
		}
		if err == io.EOF {
			return f, n, nil
		}
		if err != nil {
			f.Close()
			return nil, 0, err
		}
	}
}
