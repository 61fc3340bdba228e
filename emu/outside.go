package emu

import "pinhole/abi"

// Signal sends a signal that came from outside of the sandbox: from its terminal to the process group in the
// foreground, else, from somebody on the host, to that of the first process. Numbers that are no signal are
// ignored.
func (k *Kernel) Signal(sig int) {
	if sig < 1 || sig > abi.SIGRTMAX {
		return
	}
	group := int32(firstPID)
	switch sig {
	case abi.SIGINT, abi.SIGQUIT, abi.SIGTSTP, abi.SIGWINCH:
		if g := k.io.terminal.foreground(); k.hasGroup(g) {
			group = g
		}
	}
	for _, p := range k.processes() {
		if p.group() == group {
			p.signal(sig)
		}
	}
}
