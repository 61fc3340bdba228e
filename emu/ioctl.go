package emu

import (
	"encoding/binary"

	"pinhole/abi"
)

// fdIoctl is ioctl(2): here what is the same for all files, the rest is for their kind.
func (t *Task) fdIoctl(fd int32, cmd uint32, arg uint64) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	switch cmd {
	case abi.FIOCLEX, abi.FIONCLEX:
		return 0, t.proc.files.setFlag(fd, cmd == abi.FIOCLEX)
	case abi.FIONBIO:
		return 0, t.flagIoctl(d, abi.O_NONBLOCK, abi.Addr(arg))
	case abi.FIOASYNC:
		return 0, t.flagIoctl(d, abi.O_ASYNC, abi.Addr(arg))
	case abi.FIOQSIZE:
		if k := d.kind(); k != abi.S_IFREG && k != abi.S_IFDIR {
			return 0, abi.ENOTTY
		}
		if errno := d.dentry.Attr(&t.attr); errno != 0 {
			return 0, errno
		}
		binary.LittleEndian.PutUint64(t.scratch[:], uint64(t.attr.Size))
		return 0, t.putStruct(abi.Addr(arg), 8)
	}
	return d.file.ioctl(t, d, cmd, arg)
}

// flagIoctl sets or clears a status flag by the int at a.
func (t *Task) flagIoctl(d *description, flag uint32, a abi.Addr) abi.Errno {
	if errno := t.getStruct(a, 4); errno != 0 {
		return errno
	}
	if t.scratch[0]|t.scratch[1]|t.scratch[2]|t.scratch[3] != 0 {
		d.flags.Or(flag)
	} else {
		d.flags.And(^flag)
	}
	return 0
}

// putInt writes an int to the guest, aligned or not.
func (t *Task) putInt(a abi.Addr, v int32) abi.Errno {
	t.scratch[0], t.scratch[1], t.scratch[2], t.scratch[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
	return t.putStruct(a, 4)
}
