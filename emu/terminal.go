package emu

import (
	"sync"

	"pinhole/abi"
)

// terminal is what a guest may ask of the terminal that the supervisor relays. What its settings
// mean is done by the host's terminal.
type terminal struct {
	mu      sync.Mutex
	termios abi.Termios
	set     bool // termios has been set; else it has defaults
	window  abi.Winsize
	resized bool
}

// defaultTermios is a terminal in cooked mode, as login leaves it.
var defaultTermios = abi.Termios{
	Iflag: 0x4500, // ICRNL IXON IUTF8
	Oflag: 0x5,    // OPOST ONLCR
	Cflag: 0xbf,   // CS8 CREAD HUPCL, 38400 baud
	Lflag: 0x8a3b, // ISIG ICANON ECHO ECHOE ECHOK ECHOCTL ECHOKE IEXTEN
	Cc:    [19]uint8{3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22},
}

// terminalIoctl is ioctl_tty(2).
func (t *Task) terminalIoctl(cmd uint32, arg abi.Addr) (uint64, abi.Errno) {
	term := &t.kernel.io.terminal
	switch cmd {
	case abi.TCGETS:
		term.mu.Lock()
		s := term.termios
		switch {
		case term.set:
		case len(t.kernel.conf.Settings) == abi.TermiosSize:
			s.Decode(t.kernel.conf.Settings)
		default:
			s = defaultTermios
		}
		term.mu.Unlock()
		s.Encode(t.scratch[:])
		return 0, t.putStruct(arg, abi.TermiosSize)
	case abi.TCSETS, abi.TCSETSW, abi.TCSETSF:
		if errno := t.getStruct(arg, abi.TermiosSize); errno != 0 {
			return 0, errno
		}
		term.mu.Lock()
		term.termios.Decode(t.scratch[:])
		term.set = true
		if t.kernel.conf.Configure != nil {
			t.kernel.conf.Configure(t.scratch[:abi.TermiosSize])
		}
		term.mu.Unlock()
		return 0, 0
	case abi.TIOCGWINSZ:
		term.mu.Lock()
		w := term.window
		if !term.resized && t.kernel.conf.Window != nil {
			w.Row, w.Col = t.kernel.conf.Window()
		}
		term.mu.Unlock()
		w.Encode(t.scratch[:])
		return 0, t.putStruct(arg, abi.WinsizeSize)
	case abi.TIOCSWINSZ:
		if errno := t.getStruct(arg, abi.WinsizeSize); errno != 0 {
			return 0, errno
		}
		term.mu.Lock()
		term.window.Decode(t.scratch[:])
		term.resized = true
		term.mu.Unlock()
		return 0, 0
	case abi.TIOCGPGRP, abi.TIOCGSID:
		// Every process of the sandbox is in the foreground.
		return 0, t.putInt(arg, t.proc.group())
	case abi.TIOCOUTQ:
		return 0, t.putInt(arg, 0)
	case abi.TIOCSPGRP, abi.TIOCSCTTY, abi.TIOCNOTTY, abi.TCSBRK, abi.TCXONC, abi.TCFLSH, abi.TCSBRKP:
		return 0, 0
	}
	return 0, abi.ENOTTY
}
