package unpack

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// The container of xz ("The .xz File Format", version 1.2.1) is read here and not by the library, which
// takes as much memory for the dictionary as a block's header asks for, up to 4 GiB.

var (
	errXz     = errors.New("not as the format wants it")
	errCheck  = errors.New("checksum mismatch")
	errFilter = errors.New("a filter other than LZMA2, which is not supported")
	errWindow = errors.New("window too large")
)

const (
	xzHeader  = "\xfd7zXZ\x00"
	xzFooter  = "YZ"
	xzLZMA2   = 0x21
	minXzDict = 4096
)

type xzReader struct {
	r     *bufio.Reader
	n     int64 // bytes read of the stream
	check byte
	sum   hash.Hash
	block io.Reader // nil between blocks
	start int64     // of the block's data
	any   bool      // a stream has begun
	err   error
}

func newXz(r *bufio.Reader) io.Reader { return &xzReader{r: r} }

// ReadByte and source count what is read.
func (x *xzReader) ReadByte() (byte, error) {
	c, err := x.r.ReadByte()
	if err == nil {
		x.n++
	}
	return c, err
}

type xzSource struct{ x *xzReader }

func (s xzSource) ReadByte() (byte, error) { return s.x.ReadByte() }
func (s xzSource) Read(p []byte) (int, error) {
	n, err := s.x.r.Read(p)
	s.x.n += int64(n)
	return n, err
}

func (x *xzReader) full(p []byte) error {
	if _, err := io.ReadFull(xzSource{x}, p); err != nil {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.Read(p)
		if n > 0 && x.sum != nil {
			x.sum.Write(p[:n])
		}
		if err == io.EOF {
			x.err = x.endBlock()
			err = nil
		}
		if err != nil {
			x.err = err
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// next begins a block, or goes over to the next stream; io.EOF behind the last.
func (x *xzReader) next() error {
	if !x.any {
		return x.beginStream()
	}
	size, err := x.ReadByte()
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	if size == 0 {
		return x.endStream()
	}
	head := make([]byte, (int(size)+1)*4)
	head[0] = size
	if err := x.full(head[1:]); err != nil {
		return err
	}
	body := head[:len(head)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(head[len(body):]) {
		return errCheck
	}
	flags := body[1]
	if flags&0x3c != 0 {
		return errXz
	}
	if flags&3 != 0 {
		return errFilter
	}
	r := bytes.NewReader(body[2:])
	for range int(flags>>6&1) + int(flags>>7&1) { // sizes of compressed and uncompressed data
		if _, err := binary.ReadUvarint(r); err != nil {
			return errXz
		}
	}
	id, err1 := binary.ReadUvarint(r)
	props, err2 := binary.ReadUvarint(r)
	dict, err3 := r.ReadByte()
	if err1 != nil || err2 != nil || err3 != nil {
		return errXz
	}
	if id != xzLZMA2 || props != 1 {
		return errFilter
	}
	if dict > 40 {
		return errXz
	}
	// 2 or 3 shifted; 40 is 4 GiB less one.
	bytes := int64(2|dict&1) << (dict/2 + 11)
	if bytes > maxWindow {
		return errWindow
	}
	x.start = x.n
	block, err := lzma.Reader2Config{DictCap: max(int(bytes), minXzDict)}.NewReader2(xzSource{x})
	if err != nil {
		return err
	}
	x.block = block
	switch x.check {
	case 0:
		x.sum = nil
	case 1:
		x.sum = crc32.NewIEEE()
	case 4:
		x.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.sum = sha256.New()
	}
	return nil
}

// endBlock reads the padding and checksum of a block.
func (x *xzReader) endBlock() error {
	x.block = nil
	if err := x.zeros(int(-(x.n - x.start) & 3)); err != nil {
		return err
	}
	if x.sum == nil {
		return nil
	}
	stored := make([]byte, x.sum.Size())
	if err := x.full(stored); err != nil {
		return err
	}
	sum := x.sum.Sum(nil)
	if x.check != 10 { // numbers have the little end first
		for i, j := 0, len(sum)-1; i < j; i, j = i+1, j-1 {
			sum[i], sum[j] = sum[j], sum[i]
		}
	}
	if !bytes.Equal(sum, stored) {
		return errCheck
	}
	return nil
}

func (x *xzReader) zeros(n int) error {
	for range n {
		if c, err := x.ReadByte(); err != nil {
			return io.ErrUnexpectedEOF
		} else if c != 0 {
			return errXz
		}
	}
	return nil
}

// beginStream reads a stream's header.
func (x *xzReader) beginStream() error {
	x.n = 0
	var h [12]byte
	if err := x.full(h[:]); err != nil {
		return err
	}
	flags := h[6:8]
	switch {
	case string(h[:6]) != xzHeader || flags[0] != 0:
		return errXz
	case crc32.ChecksumIEEE(flags) != binary.LittleEndian.Uint32(h[8:]):
		return errCheck
	}
	switch flags[1] {
	case 0, 1, 4, 10:
	default:
		return errors.New("a kind of checksum that is not supported")
	}
	x.check, x.any = flags[1], true
	return nil
}

// endStream reads the index, whose first byte has been read, and the footer; then maybe another stream.
func (x *xzReader) endStream() error {
	start := x.n - 1
	records, err := binary.ReadUvarint(x)
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	for range records {
		for range 2 {
			if _, err := binary.ReadUvarint(x); err != nil {
				return io.ErrUnexpectedEOF
			}
		}
	}
	if err := x.zeros(int(-(x.n - start) & 3)); err != nil {
		return err
	}
	var end [4 + 12]byte // the index' checksum; footer
	if err := x.full(end[:]); err != nil {
		return err
	}
	footer := end[4:]
	switch {
	case string(footer[10:]) != xzFooter:
		return errXz
	case crc32.ChecksumIEEE(footer[4:10]) != binary.LittleEndian.Uint32(footer):
		return errCheck
	}
	for {
		word, err := x.r.Peek(4)
		switch {
		case len(word) == 0 && err == io.EOF:
			return io.EOF
		case len(word) < 4:
			return io.ErrUnexpectedEOF
		case !bytes.Equal(word, []byte{0, 0, 0, 0}):
			return x.beginStream()
		}
		x.r.Discard(4)
	}
}
