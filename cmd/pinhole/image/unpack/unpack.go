// Package unpack reads streams that may be compressed: it looks at how they begin. Memory is bounded,
// whatever a stream says about itself.
package unpack

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Format is a way of compression.
type Format string

// Formats that are known; of lz4 only the name is.
const (
	Plain Format = ""
	Gzip  Format = "gzip"
	Bzip2 Format = "bzip2"
	Xz    Format = "xz"
	Zstd  Format = "zstd"
	Lz4   Format = "lz4"
)

var magics = []struct {
	magic  string
	format Format
}{
	{"\x1f\x8b", Gzip}, {"BZh", Bzip2}, {"\xfd7zXZ\x00", Xz}, {"\x28\xb5\x2f\xfd", Zstd}, {"\x04\x22\x4d\x18", Lz4},
}

// HeadSize is how many bytes Detect wants to see.
const HeadSize = 6

// Detect tells the format of a stream that begins with head.
func Detect(head []byte) Format {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.format
		}
	}
	// Frames that decoders have to skip may stand before the first real one.
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18 {
		return Zstd
	}
	return Plain
}

// maxWindow bounds what decoders keep of what they have put out, in bytes: xz -9 and zstd --long=27 do
// with it.
const maxWindow = 128 << 20

// NewReader returns a reader of what is in r. Errors name the format. It is to be closed; r is not.
func NewReader(r io.Reader) (io.ReadCloser, Format, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	head, err := b.Peek(HeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, Plain, err
	}
	format := Detect(head)
	var out io.ReadCloser
	switch format {
	case Plain:
		return io.NopCloser(b), format, nil
	case Gzip:
		var z *gzip.Reader
		if z, err = gzip.NewReader(b); err == nil {
			out = z
		}
	case Bzip2:
		out, err = io.NopCloser(bzip2.NewReader(b)), nil
	case Xz:
		out, err = io.NopCloser(newXz(b)), nil
	case Zstd:
		var z *zstd.Decoder
		z, err = zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(2))
		if err == nil {
			out = z.IOReadCloser()
		}
	default:
		return nil, format, fmt.Errorf("is compressed with %s, which is not supported; unpack it on the way (%s -dc FILE | ...)", format, format)
	}
	if err != nil {
		return nil, format, wrap(format, err)
	}
	return &named{out, format}, format, nil
}

// named says in errors what was being read.
type named struct {
	io.ReadCloser
	format Format
}

func (n *named) Read(p []byte) (int, error) {
	k, err := n.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = wrap(n.format, err)
	}
	return k, err
}

func wrap(format Format, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return cutError{format}
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, errWindow) {
		return fmt.Errorf("the %s stream needs more than %d MiB to be unpacked; unpack it on the way (%s -dc FILE | ...)", format, maxWindow>>20, format)
	}
	return fmt.Errorf("the %s stream is damaged: %w", format, err)
}

// cutError is also io.ErrUnexpectedEOF.
type cutError struct{ format Format }

func (e cutError) Error() string {
	return fmt.Sprintf("the %s stream ends too early; it was cut short", e.format)
}
func (e cutError) Unwrap() error { return io.ErrUnexpectedEOF }
