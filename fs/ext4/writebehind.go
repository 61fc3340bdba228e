package ext4

import (
	"fmt"

	"pinhole/abi"
	"pinhole/blockdev"
)

// writeBehind writes content of files to the device, that of small ones together. While the device
// takes one batch, the next is gathered.
type writeBehind struct {
	fs     *FS
	parts  []*part // of the next batch
	pages  int
	flying *flight // the batch that the device has
	err    error   // the first
	sync   bool    // if all that there is to do is to write a batch, flush it in the same request
}

// flight is a batch on its way.
type flight struct {
	parts []*part
	errs  chan error
}

// file writes what is dirty in a file, whose pass has n.wbMu, and ends the pass sooner or later.
func (w *writeBehind) file(p *pass) {
	p.begin()
	if len(p.todo) == 0 {
		p.end()
		return
	}
	for {
		if p.urgency < now && p.n.wbWanted.Load() > 0 {
			// Somebody wants to truncate it, maybe, and will have it to himself soon.
			w.parts = append(w.parts, &part{pass: p, last: true})
			break
		}
		b, err := p.gather()
		if err != nil {
			// What went before may still be under way, and the pass ends with it.
			w.launch()
			w.land()
			p.n.mu.Lock()
			p.fail(err)
			p.n.mu.Unlock()
			w.note(err)
			p.end()
			return
		}
		w.parts = append(w.parts, b)
		w.pages += len(b.frames)
		if b.last {
			break
		}
		w.launch()
	}
	if w.pages >= batchPages || len(w.parts) >= maxTogether {
		w.launch()
	}
}

// launch gives the batch to the device, once that has taken the one before.
func (w *writeBehind) launch() {
	if len(w.parts) == 0 {
		return
	}
	f := &flight{parts: w.parts, errs: make(chan error, 1)}
	w.parts, w.pages = nil, 0
	go func() { f.errs <- f.write(w.fs, false) }()
	w.land()
	w.flying = f
}

// plain tells whether nothing but content changes.
func (f *flight) plain() bool {
	for _, b := range f.parts {
		if !b.plain {
			return false
		}
	}
	return true
}

// write gives the content to the device, and flushes it if sync is set.
func (f *flight) write(fs *FS, sync bool) error {
	vecs := f.parts[0].vecs
	if len(f.parts) > 1 {
		vecs = nil
		for _, b := range f.parts {
			vecs = append(vecs, b.vecs...)
		}
	}
	if len(vecs) == 0 {
		return nil
	}
	if !sync {
		return fs.writeVecs(vecs)
	}
	if err := fs.unwritable(); err != nil {
		return err
	}
	return blockdev.Commit(fs.dev, vecs, blockdev.Vec{})
}

// writeVecs gives content to the device.
func (fs *FS) writeVecs(vecs []blockdev.Vec) error {
	if err := fs.unwritable(); err != nil {
		return err
	}
	return fs.dev.WriteV(vecs)
}

// unwritable returns an error once damage was found: where content would go may be somebody else's, and no
// transaction will ever lead to it.
func (fs *FS) unwritable() error {
	if !fs.damaged.Load() {
		return nil
	}
	if err := fs.aborted(); err != nil {
		return err
	}
	return abi.EROFS
}

// land waits for the batch that the device has, and finishes it.
func (w *writeBehind) land() {
	f := w.flying
	if f == nil {
		return
	}
	w.flying = nil
	w.finish(f, <-f.errs)
}

// finish ends the writing of a batch.
func (w *writeBehind) finish(f *flight, err error) {
	for _, b := range f.parts {
		e := err
		if e != nil && len(f.parts) > 1 {
			// Not all of them need to suffer for one.
			if e = nil; len(b.vecs) > 0 {
				e = w.fs.writeVecs(b.vecs)
			}
		}
		if e != nil {
			e = fmt.Errorf("content of inode %d: %w", b.n.ino, e)
		}
		p := b.pass
		b.finish(e)
		w.note(p.err)
	}
	w.fs.behind.progress()
}

func (w *writeBehind) note(err error) {
	if w.err == nil {
		w.err = err
	}
}

// close finishes everything and returns the first error.
func (w *writeBehind) close() error {
	if w.flying == nil && len(w.parts) > 0 {
		// Nothing to be done meanwhile.
		f := &flight{parts: w.parts}
		w.parts, w.pages = nil, 0
		w.finish(f, f.write(w.fs, w.sync && f.plain()))
	}
	w.launch()
	w.land()
	return w.err
}

// urgency says what of the content that has changed writeContent writes.
type urgency uint8

const (
	old     urgency = iota // what has been waiting for some time
	pressed                // all that is known to have changed: memory is wanted
	now                    // also what mappings have stored up to now: somebody syncs
)

// writeContent writes content home that has changed, without a flush of the device. The caller holds no
// lock.
func (fs *FS) writeContent(u urgency) error {
	// What somebody else has taken from the list is neither on it nor on the device before he is done, or
	// is on it again.
	fs.behind.writing.Lock()
	defer fs.behind.writing.Unlock()
	return fs.writeFiles(fs.pages.takeWaiting(), u)
}

// writeFiles is writeContent for some files. The caller holds fs.behind.writing.
func (fs *FS) writeFiles(list []*inode, u urgency) error {
	return whileTight(func() error {
		err := fs.writeOnce(list, u)
		if err == errTight {
			list = fs.pages.takeWaiting() // those that are left are among them
		}
		return err
	})
}

// writeOnce is writeFiles without a second try.
func (fs *FS) writeOnce(list []*inode, u urgency) error {
	w := writeBehind{fs: fs}
	for i, n := range list {
		if !fs.inodes.hold(n) {
			continue // being deleted
		}
		if !n.wbMu.TryLock() {
			// Who has it may wait for one that is held here.
			w.close()
			n.wbMu.Lock()
		}
		w.file(&pass{n: n, held: true, urgency: u})
		if w.err != nil {
			for _, n := range list[i+1:] {
				fs.pages.wait(n, true) // they need not be dirty: mappings may have stored to them
			}
			break
		}
	}
	return w.close()
}
