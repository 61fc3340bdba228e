package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// sync puts the file's content, and unless dataOnly its attributes, on stable storage. An error of
// writing behind that this open file has not been told of yet is told now, and only now.
func (d *description) sync(dataOnly bool) abi.Errno {
	return d.checkError(d.node.Sync(dataOnly))
}

// newContent is newDescription for files and directories: it knows which errors of writing behind were
// told before it.
func (k *Kernel) newContent(dentry *vfs.Dentry, file openFile, m mode, flags uint32) (*description, abi.Errno) {
	d, errno := k.newDescription(dentry, file, m, flags)
	if errno == 0 {
		if e, ok := d.node.(vfs.ErrorSampler); ok {
			d.seen = e.SampleError()
		}
	}
	return d, errno
}

// checkError returns an error of writing behind that d has not told of, else errno, that of what was just
// done.
func (d *description) checkError(errno abi.Errno) abi.Errno {
	e, ok := d.node.(vfs.ErrorSampler)
	if !ok {
		return errno
	}
	d.errMu.Lock()
	defer d.errMu.Unlock()
	if behind := e.CheckError(&d.seen); behind != 0 {
		return behind
	}
	return errno
}
