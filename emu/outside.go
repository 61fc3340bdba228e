package emu

// Signal sends a signal that came from outside of the sandbox, from its terminal or somebody on
// the host, to the process group of the first process. Numbers that are no signal are ignored.
func (k *Kernel) Signal(sig int) {
	if sig < 1 || sig > 64 {
		return
	}
	for _, p := range k.processes() {
		if p.group() == firstPID {
			p.signal(sig)
		}
	}
}
