package ext4

import (
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// damageLog is what was found wrong since the mount: what the superblock is to say of it, and what has
// been reported, since the same thing is found again and again.
type damageLog struct {
	mu    sync.Mutex // taken with any other lock held; nothing is called under it
	seen  map[CorruptError]bool
	base  uint32 // errors that the superblock knew of when it was mounted
	count uint32 // errors since
	first errorNote
	last  errorNote
}

// errorNote is an error as the superblock describes it.
type errorNote struct {
	time  uint64
	code  uint8
	ino   uint32
	block uint64
	fn    string
	line  uint32
}

// maxReports bounds how many different errors are reported, and maxNotes how many of them are worth
// a write of the superblock each.
const (
	maxReports = 200
	maxNotes   = 20
)

// Error numbers of the superblock's s_last_error_errcode.
const (
	superErrEIO     = 2
	superErrCorrupt = 5
	superErrNoSpace = 6
)

// corrupt reports e, makes the file system read-only, and returns e. With a journal, what is
// not committed yet never will be: the change that came upon e may be half made.
func (fs *FS) corrupt(e *CorruptError) error {
	d := &fs.damage
	d.mu.Lock()
	isNew := !d.seen[*e] && len(d.seen) < maxReports
	if isNew {
		if d.seen == nil {
			d.seen = make(map[CorruptError]bool)
		}
		d.seen[*e] = true
	}
	d.mu.Unlock()
	if !isNew {
		return e
	}
	fs.damaged.Store(true)
	if fs.mounted.Load() && !fs.readOnly.Swap(true) {
		fs.log("%v; file system is now read-only", e)
	} else {
		fs.readOnly.Store(true)
		fs.log("%v", e)
	}
	fs.abort(e)
	if fs.mounted.Load() {
		if err := fs.noteError(e); err != nil {
			fs.log("the error could not be noted on the device: %v", err)
		}
	}
	return e
}

// noteError sets the error fields in the superblock at home, and nothing else. It may be called with
// any locks held but the journal's.
func (fs *FS) noteError(cause error) error {
	n := errorNote{time: uint64(fs.now().Sec), code: superErrEIO}
	switch errno(cause) {
	case abi.EUCLEAN:
		n.code = superErrCorrupt
	case abi.ENOSPC:
		n.code = superErrNoSpace
	}
	var c *CorruptError
	if errors.As(cause, &c) {
		n.ino, n.block = c.Ino, c.Block
	}
	n.fn, n.line = finder()

	d := &fs.damage
	d.mu.Lock()
	if d.count == 0 {
		d.first = n
	}
	d.count++
	d.last = n
	count := d.count
	d.mu.Unlock()
	if count > maxNotes || fs.opts.ReadOnly {
		return nil
	}

	fs.abortMu.Lock()
	defer fs.abortMu.Unlock()
	dev := fs.device() // the other one may take nothing any more
	var p [disk.SuperblockSize]byte
	if err := dev.ReadAt(p[:], disk.SuperblockOffset); err != nil {
		return err
	}
	var sb disk.Superblock
	if err := sb.Decode(p[:]); err != nil {
		return err
	}
	sb.State |= disk.StateError
	d.addTo(&sb)
	sb.Encode(p[:])
	if err := dev.WriteV([]blockdev.Vec{{Off: disk.SuperblockOffset, Data: p[:]}}); err != nil {
		return err
	}
	return dev.Flush()
}

// addTo brings the error fields of sb up to date.
func (d *damageLog) addTo(sb *disk.Superblock) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count == 0 {
		return
	}
	if d.base == 0 {
		f := &d.first
		sb.FirstErrorTime, sb.FirstErrorCode, sb.FirstErrorIno, sb.FirstErrorBlock = f.time, f.code, f.ino, f.block
		sb.FirstErrorFunc, sb.FirstErrorLine = [32]byte{}, f.line
		copy(sb.FirstErrorFunc[:], f.fn)
	}
	sb.ErrorCount = d.base + d.count
	l := &d.last
	sb.LastErrorTime, sb.LastErrorCode, sb.LastErrorIno, sb.LastErrorBlock = l.time, l.code, l.ino, l.block
	sb.LastErrorFunc, sb.LastErrorLine = [32]byte{}, l.line
	copy(sb.LastErrorFunc[:], l.fn)
}

// keepErrors takes over the error fields of old if it knows of more errors.
func keepErrors(sb, old *disk.Superblock) {
	sb.State |= old.State & disk.StateError
	if old.ErrorCount <= sb.ErrorCount {
		return
	}
	sb.ErrorCount = old.ErrorCount
	sb.FirstErrorTime, sb.FirstErrorCode, sb.FirstErrorIno, sb.FirstErrorBlock = old.FirstErrorTime, old.FirstErrorCode, old.FirstErrorIno, old.FirstErrorBlock
	sb.FirstErrorFunc, sb.FirstErrorLine = old.FirstErrorFunc, old.FirstErrorLine
	sb.LastErrorTime, sb.LastErrorCode, sb.LastErrorIno, sb.LastErrorBlock = old.LastErrorTime, old.LastErrorCode, old.LastErrorIno, old.LastErrorBlock
	sb.LastErrorFunc, sb.LastErrorLine = old.LastErrorFunc, old.LastErrorLine
}

// finder returns the function of this package that found an error, and the line in it: the first
// caller that is not one of those that report.
func finder() (string, uint32) {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		name := f.Function[strings.LastIndexByte(f.Function, '.')+1:]
		switch filepath.Base(f.File) {
		case "damage.go", "error.go":
		default:
			if name != "abort" {
				return strings.TrimSuffix(name, "-fm"), uint32(f.Line)
			}
		}
		if !more {
			return "", 0
		}
	}
}
