package control

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"
)

// Kind says what a frame means.
type Kind uint32

// From the sandbox.
const (
	// Running: the lock is proven, the image mounted, and the program is next. Value is the set of layers
	// (package launch) that are in force around the lock.
	Running Kind = 1 + iota
	// Failed: the program could not be started. Value is the exit status, the text says why.
	Failed
	// Exited: the program ended, everything is written and the image is clean. Value is the exit status.
	Exited
	// Report: something the operator should know, in whole lines.
	Report
	// Trace: lines of the call trace.
	Trace
	// Bug: a fault of the kernel itself, with its trace. The sandbox ends without Exited.
	Bug
	// Settings: the text is new settings of the terminal, as Config.Settings.
	Settings
)

// To the sandbox.
const (
	// Signal: Value is the number of a signal for the program's foreground processes.
	Signal Kind = 64 + iota
	// Window: the terminal has a new size; Value is rows<<32 | columns.
	Window
)

// A frame travels as a header of 16 bytes (uint32 kind, uint32 length of the text, uint64 value,
// little-endian) and at most MaxText bytes of text. A frame fits into PIPE_BUF, so that frames of several
// writers do not mix.
const (
	frameHeader = 16
	MaxText     = 4096 - frameHeader
)

// Frame is one message.
type Frame struct {
	Kind  Kind
	Value uint64
	Text  []byte
}

// Append appends the frame's bytes to b. Text beyond MaxText is cut off.
func (f *Frame) Append(b []byte) []byte {
	text := f.Text[:min(len(f.Text), MaxText)]
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Kind))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	b = binary.LittleEndian.AppendUint64(b, f.Value)
	return append(b, text...)
}

// Reader takes frames from a pipe.
type Reader struct {
	r   io.Reader
	buf [frameHeader + MaxText]byte
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next reads one frame. Its text is valid until the next call. The error is io.EOF where the
// stream ends between two frames; after any error the stream cannot be read on.
func (r *Reader) Next() (Frame, error) {
	h := r.buf[:frameHeader]
	if _, err := io.ReadFull(r.r, h); err != nil {
		return Frame{}, err
	}
	f := Frame{
		Kind:  Kind(binary.LittleEndian.Uint32(h)),
		Value: binary.LittleEndian.Uint64(h[8:]),
	}
	n := binary.LittleEndian.Uint32(h[4:])
	if n > MaxText {
		return Frame{}, fmt.Errorf("frame with %d bytes of text (at most %d)", n, MaxText)
	}
	f.Text = r.buf[frameHeader : frameHeader+n]
	if _, err := io.ReadFull(r.r, f.Text); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return f, nil
}

// Clean makes text from a sandbox fit for a terminal: control characters other than newline and
// tab, and bytes that are not UTF-8, become '?', in place. Escape sequences lose their power with their first byte;
// C1 controls, which some terminals obey too, are two-byte sequences in UTF-8 (0xC2, 0x80..0x9F).
func Clean(p []byte) []byte {
	for i := 0; i < len(p); {
		switch c := p[i]; {
		case c == '\n' || c == '\t' || c >= 0x20 && c < 0x7f:
			i++
		case c < 0x80:
			p[i] = '?'
			i++
		default:
			n := runeLen(p[i:])
			if n == 0 {
				p[i] = '?'
				n = 1
			}
			i += n
		}
	}
	return p
}

// runeLen returns the length of the printable non-ASCII character that p begins with, or 0.
// Characters that reorder or hide others on a terminal do not count as printable.
func runeLen(p []byte) int {
	r, n := utf8.DecodeRune(p)
	switch {
	case n < 2,
		r < 0xa0,                   // C1 controls
		r >= 0x200b && r <= 0x200f, // zero width, direction marks
		r >= 0x2028 && r <= 0x202e, // separators, embeddings and overrides
		r >= 0x2060 && r <= 0x206f, // joiners, isolates
		r == 0xfeff,                // byte order mark
		r >= 0xe000 && r <= 0xf8ff: // private use
		return 0
	}
	return n
}
