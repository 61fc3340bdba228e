package emu

import (
	"sync/atomic"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// kernelIO is what file calls keep for all processes.
type kernelIO struct {
	open      atomic.Int64  // descriptions
	pipeBytes atomic.Int64  // capacity of all pipes
	lastPipe  atomic.Uint64 // pipes that there have been
	lastIno   atomic.Uint64 // of nodes outside of file systems
	fifos     fifoTable
	locks     lockTable
	streams   [3]*stream
	terminal  terminal
	anon      anonFiles
	epolls    epolls
	bootID    bootID
}

// The devices that there are, by number, wherever their nodes lie.
var (
	devNull    = abi.Makedev(1, 3)
	devZero    = abi.Makedev(1, 5)
	devFull    = abi.Makedev(1, 7)
	devRandom  = abi.Makedev(1, 8)
	devURandom = abi.Makedev(1, 9)
	devTTY     = abi.Makedev(5, 0)
	devConsole = abi.Makedev(5, 1)
)

// openDevice opens a character device. It takes over the reference to dentry. ENXIO: there is no
// such device.
func (t *Task) openDevice(dentry *vfs.Dentry, m mode, flags uint32) (*description, abi.Errno) {
	if errno := dentry.Attr(&t.attr); errno != 0 {
		dentry.Unref()
		return nil, errno
	}
	var file openFile
	switch t.attr.Rdev {
	case devNull:
		file = nullDevice{}
	case devZero:
		file = zeroDevice{}
	case devFull:
		file = fullDevice{}
	case devRandom, devURandom:
		file = randomDevice{}
	case devTTY, devConsole:
		for _, s := range t.kernel.io.streams {
			if s != nil && s.terminal {
				return t.kernel.newDescription(dentry, s, m, flags)
			}
		}
	}
	if file == nil {
		dentry.Unref()
		return nil, abi.ENXIO
	}
	return t.kernel.newDescription(dentry, file, m|modeSeek, flags)
}

// device is what the memory devices have in common.
type device struct{}

func (device) ready(*Task, *description) uint32 { return alwaysReady }
func (device) queue(*Task) *waitQueue           { return nil }
func (device) release(*description)             {}

func (device) ioctl(*Task, *description, uint32, uint64) (uint64, abi.Errno) {
	return 0, abi.ENOTTY
}

// write takes everything and keeps nothing: as on Linux the bytes are not even looked at.
func (device) write(_ *Task, _ *description, off int64, n int, _ vfs.Source) (int, int64, abi.Errno) {
	return n, off, 0
}

// nullDevice is /dev/null.
type nullDevice struct{ device }

func (nullDevice) read(*Task, *description, int64, int, vfs.Dest) (int, abi.Errno) { return 0, 0 }

// zeroDevice is /dev/zero.
type zeroDevice struct{ device }

var zeroes [16 << 10]byte

func (zeroDevice) read(t *Task, _ *description, _ int64, n int, dst vfs.Dest) (int, abi.Errno) {
	done := 0
	for done < n {
		m, errno := dst.Put(zeroes[:min(n-done, len(zeroes))])
		done += m
		if errno != 0 {
			return done, errno
		}
		if t.attention.Load()&attInterrupt != 0 {
			break
		}
	}
	return done, 0
}

// fullDevice is /dev/full: it reads as /dev/zero, and has no room.
type fullDevice struct{ zeroDevice }

func (fullDevice) write(*Task, *description, int64, int, vfs.Source) (int, int64, abi.Errno) {
	return 0, 0, abi.ENOSPC
}

// randomDevice is /dev/random and /dev/urandom, which do not differ.
type randomDevice struct{ device }

// ioctl knows no requests; the real one says so in another way than most.
func (randomDevice) ioctl(*Task, *description, uint32, uint64) (uint64, abi.Errno) {
	return 0, abi.EINVAL
}

func (randomDevice) read(t *Task, _ *description, _ int64, n int, dst vfs.Dest) (int, abi.Errno) {
	done := 0
	for done < n {
		b := t.scratch[:min(n-done, len(t.scratch))]
		if t.kernel.m.Entropy(b) != nil {
			return done, abi.EIO
		}
		m, errno := dst.Put(b)
		done += m
		if errno != 0 {
			return done, errno
		}
		if t.attention.Load()&attInterrupt != 0 {
			break
		}
	}
	clear(t.scratch[:])
	return done, 0
}
