package ext4

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
)

// flusher writes changes behind: a while after the first of them, or at once when there
// are many.
type flusher struct {
	fs     *FS
	dirty  atomic.Bool   // something has changed since the last round began
	wake   chan struct{} // dirty was set
	urgent chan struct{} // do not wait
	quit   chan struct{}
	done   chan struct{}
	once   sync.Once

	mu     sync.Mutex
	rounds uint64     // completed
	err    error      // of the last round
	moved  *sync.Cond // a round was completed, or some of one
}

// retryAfter is the pause after a round that failed.
const retryAfter = time.Second

func (f *flusher) init(fs *FS) {
	f.fs = fs
	f.wake = make(chan struct{}, 1)
	f.urgent = make(chan struct{}, 1)
	f.quit = make(chan struct{})
	f.done = make(chan struct{})
	f.moved = sync.NewCond(&f.mu)
	if fs.opts.ReadOnly {
		close(f.done)
		return
	}
	go f.loop()
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// dirtied notes that something has changed; big that it is a lot.
func (f *flusher) dirtied(big bool) {
	if !f.dirty.Load() && f.dirty.CompareAndSwap(false, true) {
		poke(f.wake)
	}
	if big {
		poke(f.urgent)
	}
}

func (f *flusher) loop() {
	defer close(f.done)
	timer := time.NewTimer(0)
	<-timer.C
	for {
		select {
		case <-f.wake:
		case <-f.urgent:
		case <-f.quit:
			return
		}
		pause := f.fs.opts.FlushAfter
		f.mu.Lock()
		failed := f.err != nil
		f.mu.Unlock()
		if failed {
			pause = max(pause, retryAfter)
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-f.urgent:
			timer.Stop()
		case <-f.quit:
			timer.Stop()
			return
		}
		f.round()
	}
}

// round writes everything that has changed, without a flush of the device.
func (f *flusher) round() {
	f.dirty.Store(false)
	err := f.fs.writeAll(false)
	f.mu.Lock()
	if err != nil && f.err == nil {
		f.fs.log("writing behind: %v", err)
	}
	f.err = err
	f.rounds++
	f.moved.Broadcast()
	f.mu.Unlock()
	if err != nil {
		f.dirtied(false)
	}
}

// stop ends the flusher's work.
func (f *flusher) stop() {
	f.once.Do(func() { close(f.quit) })
	<-f.done
}

// writeAll writes all content and metadata that has changed home. force says that trees
// are to be compacted although their files may still be changing.
func (fs *FS) writeAll(force bool) error {
	var first error
	for _, n := range fs.pages.takeWaiting() {
		if first != nil || !fs.inodes.hold(n) {
			fs.pages.wait(n, first != nil)
			continue
		}
		if err := n.writeback(); err != nil && first == nil {
			first = err
		}
		n.Unref()
		fs.flusher.mu.Lock()
		fs.flusher.moved.Broadcast()
		fs.flusher.mu.Unlock()
	}
	if first == nil {
		fs.compactTrees(force)
	}
	if err := fs.commit(0); err != nil && first == nil {
		first = err
	}
	fs.pages.trim()
	return first
}

// throttle makes a writer wait while too much is dirty. The caller holds no lock.
func (fs *FS) throttle() error {
	dirty := int(fs.pages.ndirty.Load())
	if dirty < fs.pages.limit/4 {
		return nil
	}
	poke(fs.flusher.urgent)
	if dirty < fs.pages.limit*3/4 {
		return nil
	}
	f := &fs.flusher
	f.mu.Lock()
	defer f.mu.Unlock()
	for int(fs.pages.ndirty.Load()) >= fs.pages.limit/2 {
		if f.err != nil {
			return f.err
		}
		f.moved.Wait()
	}
	return nil
}

// makeRoom has changes written so that frames become free. The caller holds no lock.
func (fs *FS) makeRoom() error {
	f := &fs.flusher
	f.mu.Lock()
	defer f.mu.Unlock()
	round := f.rounds
	for f.rounds < round+1 {
		f.dirtied(true)
		f.moved.Wait()
	}
	return f.err
}

// Sync implements vfs.FileSystem.
func (fs *FS) Sync() abi.Errno { return errno(fs.sync(false)) }

func (fs *FS) sync(force bool) error {
	if fs.opts.ReadOnly {
		return nil
	}
	err := fs.writeAll(force)
	if e := fs.dev.Flush(); e != nil && err == nil {
		err = e
	}
	return err
}

// Unmount implements vfs.FileSystem.
func (fs *FS) Unmount() abi.Errno {
	if fs.unmounted.Swap(true) {
		return abi.EINVAL
	}
	fs.flusher.stop()
	if fs.opts.ReadOnly {
		return 0
	}
	fs.deleteOrphans()
	err := fs.sync(true)
	if errors.Is(err, blockdev.ErrNoSpace) {
		err = fs.sync(true)
	}
	if err != nil {
		fs.log("unmount: %v", err)
	}
	fs.readOnly.Store(true)
	fs.pages.dropAll(&fs.inodes)
	return errno(err)
}
