package emu

import "pinhole/abi"

// monotonic returns CLOCK_MONOTONIC in nanoseconds: the clock of wait's deadlines.
func (k *Kernel) monotonic() int64 {
	now, _ := k.m.Clock(abi.CLOCK_MONOTONIC)
	return now
}
