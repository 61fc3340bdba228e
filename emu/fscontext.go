package emu

import (
	"sync"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// procIO is what file calls keep per process.
//
// A call uses the file system context that it found at its beginning to its end; the directories
// in it must be held as long, though another thread may change directory in between. So a
// directory that was replaced is let go only once no call is under way that may have seen it:
// those are counted, and the last one out lets go of what has been replaced until then. A
// thread that is alone need not be: nobody but itself replaces anything.
type procIO struct {
	walks atomic.Int64 // calls under way that use fsctx

	shown atomic.Pointer[shownProgram] // of the program that was started last

	retireMu sync.Mutex
	retired  []*vfs.Dentry // replaced in fsctx, still held
	pending  atomic.Bool   // retired is not empty
}

// lockFS returns who and where the process is towards file systems: good until unlockFS. Calls of
// the two do not nest.
func (t *Task) lockFS() *vfs.Context {
	if t.fsCounted = t.proc.live.Load() > 1; t.fsCounted {
		// The count comes first: whoever replaces the context afterwards finds it raised.
		t.proc.walks.Add(1)
	}
	return t.proc.fs()
}

func (t *Task) unlockFS() {
	if t.fsCounted && t.proc.walks.Add(-1) == 0 && t.proc.pending.Load() {
		t.proc.release()
	}
}

// release lets go of the retired directories unless a call is under way.
func (p *Process) release() {
	p.retireMu.Lock()
	if p.walks.Load() != 0 {
		p.retireMu.Unlock()
		return
	}
	list := p.retired
	p.retired = nil
	p.pending.Store(false)
	p.retireMu.Unlock()
	for _, d := range list {
		d.Unref()
	}
}

// retire lets go of d, which has just been replaced in fsctx, once nobody uses it. d may be nil.
func (p *Process) retire(d *vfs.Dentry) {
	if d == nil {
		return
	}
	p.retireMu.Lock()
	p.retired = append(p.retired, d)
	p.pending.Store(true)
	p.retireMu.Unlock()
	p.release()
}

// setCwd makes d the working directory, and takes over the reference to it.
func (p *Process) setCwd(d *vfs.Dentry) {
	var old *vfs.Dentry
	p.changeFS(func(c *vfs.Context) abi.Errno {
		old, c.Cwd = c.Cwd, d
		return 0
	})
	p.retire(old)
}

// setRoot makes d the root directory, and takes over the reference to it.
func (p *Process) setRoot(d *vfs.Dentry) {
	var old *vfs.Dentry
	p.changeFS(func(c *vfs.Context) abi.Errno {
		old, c.Root = c.Root, d
		return 0
	})
	p.retire(old)
}

// directories returns the working and root directory with references, for calls of other
// processes. Either may be nil.
func (p *Process) directories() (cwd, root *vfs.Dentry) {
	p.walks.Add(1)
	c := p.fs()
	if cwd = c.Cwd; cwd != nil {
		cwd.Ref()
	}
	if root = c.Root; root != nil {
		root.Ref()
	}
	if p.walks.Add(-1) == 0 && p.pending.Load() {
		p.release()
	}
	return cwd, root
}
