package ext4

import (
	"sync"
	"sync/atomic"
	"time"

	"pinhole/abi"
)

// contentWriter writes content behind: a while after it was written to memory, or as soon as there is
// much of it, so that the device works at the same time as the program. Writers that are faster than
// the device wait here.
//
// Of the frames that the cache may have, up to a third are dirty before anything is hurried; at three
// quarters, dirty or being written, writers wait for each batch that the device takes.
type contentWriter struct {
	fs     *FS
	some   atomic.Bool   // content was written to memory since the last round began
	wake   chan struct{} // some was set
	urgent chan struct{} // there is much of it
	quit   chan struct{}
	done   chan struct{}
	once   sync.Once
	tick   atomic.Uint32 // rounds that came by time, to tell the age of dirty pages

	soon chan struct{} // hurried has some

	// writing is held by who takes files from the list of those that wait until he has written them: a sync
	// may not end before what was on the list is on the device.
	writing sync.Mutex

	mu      sync.Mutex
	hurried []*inode   // to be written at once
	rounds  uint64     // completed
	err     error      // of the last round
	moved   *sync.Cond // a round was completed, or a batch of one
}

func (f *contentWriter) init(fs *FS) {
	f.fs = fs
	f.wake = make(chan struct{}, 1)
	f.urgent = make(chan struct{}, 1)
	f.soon = make(chan struct{}, 1)
	f.quit = make(chan struct{})
	f.done = make(chan struct{})
	f.moved = sync.NewCond(&f.mu)
	if fs.opts.ReadOnly {
		close(f.done)
		return
	}
	go f.loop()
}

// wrote notes that content was written to memory.
func (f *contentWriter) wrote() {
	if !f.some.Load() && f.some.CompareAndSwap(false, true) {
		poke(f.wake)
	}
}

// writeSoon has a file written at once that was emptied and is closed: many programs replace content
// that way, and expect after a crash the old content or the new, as Linux's auto_da_alloc gives it to
// them as far as can be.
func (f *contentWriter) writeSoon(n *inode) {
	if !n.emptied.Swap(false) || !n.pages.dirty() {
		return
	}
	f.mu.Lock()
	f.hurried = append(f.hurried, n)
	f.mu.Unlock()
	poke(f.soon)
}

func (f *contentWriter) loop() {
	defer close(f.done)
	alarm := newAlarm()
	for {
		select {
		case <-f.wake:
			// What becomes dirty now is written by the second round from now on.
			pause := f.fs.opts.FlushAfter / 2
			if f.failed() {
				pause = max(pause, retryAfter)
			}
			alarm.set(pause)
		case <-alarm.timer.C:
			alarm.on = false
			f.round(old)
			f.tick.Add(1)
		case <-f.urgent:
			f.round(pressed)
		case <-f.soon:
			f.mu.Lock()
			list := f.hurried
			f.hurried = nil
			f.mu.Unlock()
			f.writing.Lock()
			err := f.fs.writeFiles(list, pressed)
			f.writing.Unlock()
			if err != nil {
				f.fs.log("writing behind: %v", err)
			}
		case <-f.quit:
			alarm.stop()
			return
		}
	}
}

// round writes content.
func (f *contentWriter) round(u urgency) {
	f.some.Store(false)
	err := f.fs.writeContent(u)
	f.fs.pages.trim()
	f.mu.Lock()
	if err != nil && f.err == nil {
		f.fs.log("writing behind: %v", err)
	}
	f.err = err
	f.rounds++
	f.moved.Broadcast()
	f.mu.Unlock()
	if err != nil {
		f.wrote()
	}
}

// progress wakes who waits for content to be written.
func (f *contentWriter) progress() {
	f.mu.Lock()
	f.moved.Broadcast()
	f.mu.Unlock()
}

// failed tells whether the last round failed.
func (f *contentWriter) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil
}

// stop ends the writing behind.
func (f *contentWriter) stop() {
	f.once.Do(func() { close(f.quit) })
	<-f.done
}

// throttle makes a writer wait while too much is dirty. The caller holds no lock.
func (fs *FS) throttle() error {
	c := &fs.pages
	if int(c.ndirty.Load()) < c.limit/3 {
		return nil
	}
	f := &fs.behind
	poke(f.urgent)
	if c.unclean() < c.limit/4*3 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for c.unclean() >= c.limit/4*3 {
		if f.err != nil {
			return f.err
		}
		poke(f.urgent)
		f.moved.Wait()
	}
	return nil
}

// patience is how often makeRoom is asked for one frame before that fails: half a minute, in
// which nobody has given one back.
const patience = 3000

// makeRoom has content written so that frames become free. tries is how often that was done and
// did not help, or others were quicker. The caller holds no lock.
func (fs *FS) makeRoom(tries int) error {
	if tries > patience {
		return abi.ENOMEM
	}
	if tries > 3 {
		// There is nothing to write. What the frames hold is on its way to the device, in
		// transactions that are being committed, or clean and of inodes that are locked meanwhile.
		time.Sleep(min(time.Duration(tries)*100*time.Microsecond, 10*time.Millisecond))
	}
	f := &fs.behind
	f.mu.Lock()
	defer f.mu.Unlock()
	for round := f.rounds; f.rounds == round; {
		poke(f.urgent)
		f.moved.Wait()
		if f.rounds == round && fs.pages.unclean() < fs.pages.limit/2 {
			return nil
		}
	}
	return f.err
}
