package ext4

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
)

// flusher writes changes behind: content a while after it was written or when there is much
// of it, and a commit every few seconds or when a transaction is large.
type flusher struct {
	fs     *FS
	dirty  atomic.Bool   // something has changed since the last round began
	wake   chan struct{} // dirty was set
	urgent chan struct{} // write content now
	large  chan struct{} // commit now
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
	f.large = make(chan struct{}, 1)
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

// dirtied notes that something has changed.
func (f *flusher) dirtied() {
	if !f.dirty.Load() && f.dirty.CompareAndSwap(false, true) {
		poke(f.wake)
	}
}

// writeSoon has content written without delay.
func (f *flusher) writeSoon() { poke(f.urgent) }

// commitSoon has the running transaction committed without delay.
func (f *flusher) commitSoon() { poke(f.large) }

func (f *flusher) loop() {
	defer close(f.done)
	write, commit := newAlarm(), newAlarm()
	for {
		select {
		case <-f.wake:
			pause := f.fs.opts.FlushAfter
			if f.failed() {
				pause = max(pause, retryAfter)
			}
			write.set(pause)
			if f.fs.journal != nil {
				commit.set(max(pause, f.fs.opts.CommitEvery))
			}
		case <-f.urgent:
			write.stop()
			f.round(f.fs.journal == nil)
		case <-f.large:
			write.stop()
			commit.stop()
			f.round(true)
		case <-write.timer.C:
			write.on = false
			f.round(f.fs.journal == nil)
		case <-commit.timer.C:
			commit.on = false
			f.round(true)
		case <-f.quit:
			write.stop()
			commit.stop()
			return
		}
	}
}

// alarm is a timer that keeps to the first time it was set to.
type alarm struct {
	timer *time.Timer
	on    bool
}

func newAlarm() *alarm {
	a := &alarm{timer: time.NewTimer(time.Hour)}
	a.timer.Stop()
	return a
}

func (a *alarm) set(d time.Duration) {
	if !a.on {
		a.on = true
		a.timer.Reset(d)
	}
}

func (a *alarm) stop() {
	a.on = false
	a.timer.Stop()
}

// failed tells whether the last round failed.
func (f *flusher) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil
}

// round writes the content that has changed, and commits if commit is set.
func (f *flusher) round(commit bool) {
	f.dirty.Store(false)
	var err error
	if commit {
		err = f.fs.writeAll(false, false)
	} else {
		err = f.fs.writeContent(false)
		f.fs.pages.trim()
	}
	f.mu.Lock()
	if err != nil && f.err == nil {
		f.fs.log("writing behind: %v", err)
	}
	f.err = err
	f.rounds++
	f.moved.Broadcast()
	f.mu.Unlock()
	if err != nil {
		f.dirtied()
	}
}

// stop ends the flusher's work.
func (f *flusher) stop() {
	f.once.Do(func() { close(f.quit) })
	<-f.done
}

// writeAll writes all content that has changed home, and commits. force says that trees are
// to be compacted although their files may still be changing; asked is as writeContent's.
func (fs *FS) writeAll(force, asked bool) error {
	first := fs.writeContent(asked)
	if first == nil {
		fs.compactTrees(force)
	}
	if err := fs.commit(0); err != nil && first == nil {
		first = err
	}
	fs.pages.trim()
	return first
}

// Sync implements vfs.FileSystem.
func (fs *FS) Sync() abi.Errno { return errno(fs.sync(false)) }

func (fs *FS) sync(force bool) error {
	if fs.opts.ReadOnly {
		return nil
	}
	err := fs.writeAll(force, true)
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
	fs.stopJournal()
	if fs.opts.ReadOnly {
		return 0
	}
	fs.deleteOrphans()
	err := fs.sync(true)
	if errors.Is(err, blockdev.ErrNoSpace) {
		err = fs.sync(true)
	}
	if err == nil {
		err = fs.closeJournal()
	}
	if err != nil {
		fs.log("unmount: %v", err)
	}
	fs.readOnly.Store(true)
	fs.pages.dropAll(&fs.inodes)
	return errno(err)
}
