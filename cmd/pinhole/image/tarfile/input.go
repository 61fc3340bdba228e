package tarfile

import (
	"errors"
	"io"
)

// input is a buffered stream that knows where it is, and skips by seeking if it can.
type input struct {
	src    io.Reader
	seeker io.Seeker // src, if it can
	buf    []byte
	r, w   int   // what is in buf
	off    int64 // of buf[r]
	err    error // of src, once buf is empty
}

const inputSize = 128 << 10

func newInput(src io.Reader) *input {
	in := &input{src: src, buf: make([]byte, inputSize)}
	if s, ok := src.(io.Seeker); ok {
		if _, err := s.Seek(0, io.SeekCurrent); err == nil {
			in.seeker = s
		}
	}
	return in
}

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	if in.r == in.w {
		if in.err != nil {
			return 0, in.err
		}
		if len(p) >= len(in.buf) {
			n, err := in.src.Read(p)
			in.off += int64(n)
			in.err = err
			return n, nil
		}
		in.r, in.w = 0, 0
		in.w, in.err = in.src.Read(in.buf)
	}
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	in.off += int64(n)
	return n, nil
}

// full fills p, or fails; with io.EOF if there is nothing at all.
func (in *input) full(p []byte) error {
	_, err := io.ReadFull(in, p)
	return err
}

// skip passes over n bytes, which must be there.
func (in *input) skip(n int64) error {
	have := min(int64(in.w-in.r), n)
	in.r += int(have)
	in.off += have
	n -= have
	if n > inputSize && in.seeker != nil && in.err == nil {
		// Seeking goes beyond the end without an error: the last byte is read.
		if _, err := in.seeker.Seek(n-1, io.SeekCurrent); err == nil {
			in.off += n - 1
			n = 1
		}
	}
	for n > 0 {
		k, err := in.Read(in.scratch(n))
		n -= int64(k)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// scratch returns room for bytes that nobody wants: a little less than what Read would take directly,
// so that they only pass through the buffer.
func (in *input) scratch(n int64) []byte {
	return discard[:min(n, int64(len(discard)))]
}

var discard [16 << 10]byte
