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
	group   int32 // the process group in the foreground; 0: the first process's
}

// foreground returns the process group in the foreground.
func (term *terminal) foreground() int32 {
	term.mu.Lock()
	defer term.mu.Unlock()
	if term.group == 0 {
		return firstPID
	}
	return term.group
}

// controls tells whether the terminal is the controlling one of the task's session: that of the first process.
func (t *Task) controls() bool {
	_, session := t.proc.groupAndSession()
	return session == firstPID
}

// lflagTOSTOP is the bit of Lflag by which writing from the background stops (termios(3)).
const lflagTOSTOP = 0x100

// stopsWriters tells whether processes in the background may not write.
func (term *terminal) stopsWriters() bool {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.set && term.termios.Lflag&lflagTOSTOP != 0
}

// mayUseTerminal is asked before a process reads from the terminal (SIGTTIN), changes it, or writes to it where
// that matters (SIGTTOU): a group in the background is stopped by that signal, and the call is made again when
// it goes on (credentials(7), tcsetpgrp(3)). EIO: nobody would continue it, or it does not want to be stopped
// and reads.
func (t *Task) mayUseTerminal(sig int) abi.Errno {
	group, session := t.proc.groupAndSession()
	k := t.kernel
	if session != firstPID || group == k.io.terminal.foreground() {
		return 0
	}
	s := &t.proc.sig
	s.mu.Lock()
	off := t.sigmask.Has(sig) || s.act[sig].Handler == abi.SIG_IGN
	s.mu.Unlock()
	if off {
		if sig == abi.SIGTTIN {
			return abi.EIO
		}
		return 0
	}
	k.mu.Lock()
	orphaned := k.orphaned(group, nil)
	k.mu.Unlock()
	if orphaned {
		return abi.EIO
	}
	for _, p := range k.processes() {
		if p.group() == group {
			p.signal(sig)
		}
	}
	return errRestart
}

// setForeground is TIOCSPGRP: a group of the caller's session comes into the foreground.
func (t *Task) setForeground(arg abi.Addr) abi.Errno {
	switch errno := t.mayUseTerminal(abi.SIGTTOU); {
	case errno == abi.EIO || !t.controls():
		return abi.ENOTTY
	case errno != 0:
		return errno
	}
	if errno := t.getStruct(arg, 4); errno != 0 {
		return errno
	}
	pgid := int32(le.Uint32(t.scratch[:]))
	if pgid < 0 {
		return abi.EINVAL
	}
	k := t.kernel
	_, session := t.proc.groupAndSession()
	k.mu.Lock()
	found, known := k.groupIn(pgid, session), k.inUse(pgid)
	k.mu.Unlock()
	switch {
	case !known:
		return abi.ESRCH
	case !found:
		return abi.EPERM
	}
	term := &k.io.terminal
	term.mu.Lock()
	term.group = pgid
	term.mu.Unlock()
	return 0
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
	case abi.TCSETS, abi.TCSETSW, abi.TCSETSF, abi.TCSBRK, abi.TCSBRKP, abi.TCXONC, abi.TCFLSH:
		if errno := t.mayUseTerminal(abi.SIGTTOU); errno != 0 {
			return 0, errno
		}
	case abi.TIOCGPGRP, abi.TIOCGSID:
		if !t.controls() {
			return 0, abi.ENOTTY
		}
	}
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
	case abi.TIOCGPGRP:
		return 0, t.putInt(arg, term.foreground())
	case abi.TIOCGSID:
		return 0, t.putInt(arg, firstPID)
	case abi.TIOCSPGRP:
		return 0, t.setForeground(arg)
	case abi.TIOCOUTQ:
		return 0, t.putInt(arg, 0)
	case abi.TIOCSCTTY, abi.TIOCNOTTY, abi.TCSBRK, abi.TCXONC, abi.TCFLSH, abi.TCSBRKP:
		return 0, 0
	}
	return 0, abi.ENOTTY
}
