package supervisor

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// terminal is the terminal that a sandbox is relayed to, if there is one. Programs may change
// how it treats what is typed and printed, and nothing else; that is undone at the end.
type terminal struct {
	fd      int // -1: there is none
	before  unix.Termios
	changed bool
}

// settingsBytes is the size of terminal settings on the control pipe: the kernel's struct termios
// (four uint32 of flags, a byte for the line discipline, 19 control characters), little-endian.
const settingsBytes = 36

// What a program may change: how bytes are translated, echoed, edited and turned into signals. It
// may not change the line's speed, parity or discipline.
const (
	inputFlags  = unix.IGNBRK | unix.BRKINT | unix.IGNPAR | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON | unix.IXANY | unix.IUTF8
	outputFlags = unix.OPOST | unix.ONLCR | unix.OCRNL | unix.ONOCR | unix.ONLRET
	localFlags  = unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHONL | unix.NOFLSH | unix.ECHOCTL | unix.ECHOPRT | unix.ECHOKE | unix.IEXTEN
	controls    = 17 // control characters that have a meaning
)

// newTerminal finds the terminal among a program's standard descriptors.
func newTerminal(files [3]*os.File) terminal {
	for _, f := range files {
		if t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			return terminal{fd: int(f.Fd()), before: *t}
		}
	}
	return terminal{fd: -1}
}

// settings returns the terminal's settings at the start; nil: there is no terminal.
func (t *terminal) settings() []byte {
	if t.fd < 0 {
		return nil
	}
	b := make([]byte, 0, settingsBytes)
	for _, v := range []uint32{t.before.Iflag, t.before.Oflag, t.before.Cflag, t.before.Lflag} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = append(b, t.before.Line)
	return append(b, t.before.Cc[:]...)
}

// change does what a program asks for, as far as it may. Of the wrong size, it is ignored.
func (t *terminal) change(b []byte) {
	if t.fd < 0 || len(b) != settingsBytes {
		return
	}
	now := t.before
	for i, f := range []struct {
		to   *uint32
		mask uint32
	}{{&now.Iflag, inputFlags}, {&now.Oflag, outputFlags}, {nil, 0}, {&now.Lflag, localFlags}} {
		if f.to != nil {
			*f.to = *f.to&^f.mask | binary.LittleEndian.Uint32(b[4*i:])&f.mask
		}
	}
	copy(now.Cc[:controls], b[17:])
	t.changed = unix.IoctlSetTermios(t.fd, unix.TCSETS, &now) == nil || t.changed
}

// restore gives the terminal back as it was.
func (t *terminal) restore() {
	if t.changed {
		unix.IoctlSetTermios(t.fd, unix.TCSETSW, &t.before)
	}
}

// window returns the terminal's size in characters, or zeros.
func (t *terminal) window() (rows, cols int64) {
	if t.fd >= 0 {
		if w, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ); err == nil {
			return int64(w.Row), int64(w.Col)
		}
	}
	return 0, 0
}
