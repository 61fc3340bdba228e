package abi

import "encoding/binary"

// The structs that calls read and write in a guest's memory. Each is little-endian, without
// holes that are not named, and equal to Linux x86-64's where Linux has the struct: the
// layout of the C struct that the named man page shows. XxxSize is its length in bytes.
//
// Encode writes the whole struct to the front of b and Decode reads it from there; b holds at
// least XxxSize bytes, else they panic, since a short buffer is the kernel's own mistake.
// Neither allocates, and neither looks at anything but the bytes: values are the caller's to check.

var le = binary.LittleEndian

func putI64(b []byte, v int64) { le.PutUint64(b, uint64(v)) }
func putI32(b []byte, v int32) { le.PutUint32(b, uint32(v)) }
func getI64(b []byte) int64    { return int64(le.Uint64(b)) }
func getI32(b []byte) int32    { return int32(le.Uint32(b)) }

// putName writes s to a field of fixed length, cut so that a NUL remains, and clears the rest.
func putName(field []byte, s string) {
	n := copy(field[:len(field)-1], s)
	clear(field[n:])
}

// Info is the answer of sys_abi: what this kernel offers.
type Info struct {
	Version  uint32 // of the ABI text; see Version
	Calls    uint32 // one more than the highest call number
	Features uint64 // FeatureXxx bits
}

// InfoSize is the length of an encoded Info. Later versions append; a caller that passes less
// gets as much as it asked for.
const InfoSize = 16

// Encode writes i to b.
func (i *Info) Encode(b []byte) {
	_ = b[InfoSize-1]
	le.PutUint32(b, i.Version)
	le.PutUint32(b[4:], i.Calls)
	le.PutUint64(b[8:], i.Features)
}

// Decode reads i from b.
func (i *Info) Decode(b []byte) {
	_ = b[InfoSize-1]
	i.Version = le.Uint32(b)
	i.Calls = le.Uint32(b[4:])
	i.Features = le.Uint64(b[8:])
}

// Iovec is one part of a vectored read or write (readv(2)).
type Iovec struct {
	Base Addr
	Len  uint64
}

// IovecSize is the length of struct iovec.
const IovecSize = 16

// Decode reads v from b.
func (v *Iovec) Decode(b []byte) {
	_ = b[IovecSize-1]
	v.Base = Addr(le.Uint64(b))
	v.Len = le.Uint64(b[8:])
}

// Encode writes v to b.
func (v *Iovec) Encode(b []byte) {
	_ = b[IovecSize-1]
	le.PutUint64(b, uint64(v.Base))
	le.PutUint64(b[8:], v.Len)
}

// Pollfd is one descriptor of poll(2).
type Pollfd struct {
	FD      int32
	Events  int16
	Revents int16
}

// PollfdSize is the length of struct pollfd.
const PollfdSize = 8

// Decode reads p from b.
func (p *Pollfd) Decode(b []byte) {
	_ = b[PollfdSize-1]
	p.FD = getI32(b)
	p.Events = int16(le.Uint16(b[4:]))
	p.Revents = int16(le.Uint16(b[6:]))
}

// Encode writes p to b.
func (p *Pollfd) Encode(b []byte) {
	_ = b[PollfdSize-1]
	putI32(b, p.FD)
	le.PutUint16(b[4:], uint16(p.Events))
	le.PutUint16(b[6:], uint16(p.Revents))
}

// Winsize is a terminal's size (TIOCGWINSZ, ioctl_tty(2)).
type Winsize struct {
	Row, Col, Xpixel, Ypixel uint16
}

// WinsizeSize is the length of struct winsize.
const WinsizeSize = 8

// Encode writes w to b.
func (w *Winsize) Encode(b []byte) {
	_ = b[WinsizeSize-1]
	le.PutUint16(b, w.Row)
	le.PutUint16(b[2:], w.Col)
	le.PutUint16(b[4:], w.Xpixel)
	le.PutUint16(b[6:], w.Ypixel)
}

// Decode reads w from b.
func (w *Winsize) Decode(b []byte) {
	_ = b[WinsizeSize-1]
	w.Row = le.Uint16(b)
	w.Col = le.Uint16(b[2:])
	w.Xpixel = le.Uint16(b[4:])
	w.Ypixel = le.Uint16(b[6:])
}

// Termios is the kernel's struct termios (TCGETS): shorter than the C libraries'.
type Termios struct {
	Iflag, Oflag, Cflag, Lflag uint32
	Line                       uint8
	Cc                         [19]uint8
}

// TermiosSize is the length of the kernel's struct termios.
const TermiosSize = 36

// Encode writes t to b.
func (t *Termios) Encode(b []byte) {
	_ = b[TermiosSize-1]
	le.PutUint32(b, t.Iflag)
	le.PutUint32(b[4:], t.Oflag)
	le.PutUint32(b[8:], t.Cflag)
	le.PutUint32(b[12:], t.Lflag)
	b[16] = t.Line
	copy(b[17:36], t.Cc[:])
}

// Decode reads t from b.
func (t *Termios) Decode(b []byte) {
	_ = b[TermiosSize-1]
	t.Iflag = le.Uint32(b)
	t.Oflag = le.Uint32(b[4:])
	t.Cflag = le.Uint32(b[8:])
	t.Lflag = le.Uint32(b[12:])
	t.Line = b[16]
	copy(t.Cc[:], b[17:36])
}
