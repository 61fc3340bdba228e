package ext4

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
)

// flusher commits behind everybody's back: every few seconds, or when a transaction is large. Without
// a journal it writes metadata home as soon as content.
type flusher struct {
	fs    *FS
	dirty atomic.Bool   // metadata has changed since the last round began
	wake  chan struct{} // dirty was set
	large chan struct{} // commit now
	quit  chan struct{}
	done  chan struct{}
	once  sync.Once
	err   error // of the last round; the loop's own
}

// retryAfter is the pause after a round that failed.
const retryAfter = time.Second

func (f *flusher) init(fs *FS) {
	f.fs = fs
	f.wake = make(chan struct{}, 1)
	f.large = make(chan struct{}, 1)
	f.quit = make(chan struct{})
	f.done = make(chan struct{})
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

// dirtied notes that metadata has changed.
func (f *flusher) dirtied() {
	if !f.dirty.Load() && f.dirty.CompareAndSwap(false, true) {
		poke(f.wake)
	}
}

// commitSoon has the running transaction committed without delay.
func (f *flusher) commitSoon() { poke(f.large) }

func (f *flusher) loop() {
	defer close(f.done)
	commit := newAlarm()
	for {
		select {
		case <-f.wake:
			pause := f.fs.opts.FlushAfter
			if f.fs.journal != nil {
				pause = max(pause, f.fs.opts.CommitEvery)
			}
			if f.err != nil {
				pause = max(pause, retryAfter)
			}
			commit.set(pause)
		case <-f.large:
			if f.err != nil {
				break // the alarm tries again
			}
			commit.stop()
			f.round()
		case <-commit.timer.C:
			commit.on = false
			f.round()
		case <-f.quit:
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

// round commits.
func (f *flusher) round() {
	f.dirty.Store(false)
	f.fs.compactTrees(false)
	err := f.fs.commit(0)
	if err != nil && f.err == nil {
		f.fs.log("committing behind: %v", err)
	}
	if f.err = err; err != nil {
		f.dirtied()
	}
}

// stop ends the flusher's work.
func (f *flusher) stop() {
	f.once.Do(func() { close(f.quit) })
	<-f.done
}

// Sync implements vfs.FileSystem.
func (fs *FS) Sync() abi.Errno { return errno(fs.sync(false)) }

// sync makes everything durable. force says that trees are to be compacted although their files may
// still be changing.
func (fs *FS) sync(force bool) error {
	if fs.opts.ReadOnly {
		return nil
	}
	err := fs.writeContent(now)
	if err == nil {
		fs.compactTrees(force)
	}
	if e := fs.commit(0); e != nil && err == nil {
		err = e
	}
	if e := fs.flush(); e != nil && err == nil {
		err = e
	}
	return err
}

// Unmount implements vfs.FileSystem.
func (fs *FS) Unmount() abi.Errno {
	if fs.unmounted.Swap(true) {
		return abi.EINVAL
	}
	fs.behind.stop()
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
