package image

import (
	"context"
	"io"
)

// readAhead reads a stream in a goroutine of its own, some buffers ahead: unpacking and hashing go on while
// the file system works, and a read that waits (for a pipe) can be given up.
type readAhead struct {
	ctx  context.Context
	full chan chunk
	free chan []byte
	now  chunk
	left []byte
}

type chunk struct {
	buf []byte
	err error
}

const (
	aheadBuffers = 4
	aheadSize    = 512 << 10
)

// newReadAhead starts reading. The goroutine ends with the stream, its first error, or the context, once
// its read returns.
func newReadAhead(ctx context.Context, r io.Reader) *readAhead {
	a := &readAhead{ctx: ctx, full: make(chan chunk, aheadBuffers), free: make(chan []byte, aheadBuffers)}
	for range aheadBuffers {
		a.free <- make([]byte, aheadSize)
	}
	go func() {
		for {
			var buf []byte
			select {
			case buf = <-a.free:
			case <-ctx.Done():
				return
			}
			n, err := io.ReadFull(r, buf)
			if err == io.ErrUnexpectedEOF && n > 0 {
				// Of the stream itself, or of ReadFull: the next read tells.
				err = nil
				if m, e := r.Read(buf[n:]); m > 0 || e != nil {
					n += m
					err = e
				}
			}
			select {
			case a.full <- chunk{buf[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return a
}

// Read implements io.Reader.
func (a *readAhead) Read(p []byte) (int, error) {
	for len(a.left) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.buf != nil {
			a.free <- a.now.buf[:cap(a.now.buf)]
		}
		select {
		case a.now = <-a.full:
			a.left = a.now.buf
		case <-a.ctx.Done():
			a.now = chunk{err: ErrInterrupted}
		}
	}
	n := copy(p, a.left)
	a.left = a.left[n:]
	return n, nil
}
