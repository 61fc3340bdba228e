package ext4

import "fmt"

// writeBehind writes content of files to the device, that of small ones together. While the device
// takes one batch, the next is gathered.
type writeBehind struct {
	fs     *FS
	parts  []*part // of the next batch
	pages  int
	flying *flight // the batch that the device has
	err    error   // the first
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
	go func() { f.errs <- f.write(w.fs) }()
	w.land()
	w.flying = f
}

// write gives the content to the device.
func (f *flight) write(fs *FS) error {
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
	return fs.dev.WriteV(vecs)
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
				e = w.fs.dev.WriteV(b.vecs)
			}
		}
		if e != nil {
			e = fmt.Errorf("content of inode %d: %w", b.n.ino, e)
		}
		p := b.pass
		b.finish(e)
		w.note(p.err)
	}
	w.fs.flusher.progress()
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
		w.finish(f, f.write(w.fs))
	}
	w.launch()
	w.land()
	return w.err
}

// writeContent writes all content home that has changed, without a flush of the device. What mappings
// have stored is looked for now and then only, unless asked is set.
func (fs *FS) writeContent(asked bool) error {
	list := fs.pages.takeWaiting()
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
		w.file(&pass{n: n, held: true, asked: asked})
		if w.err != nil {
			for _, n := range list[i+1:] {
				fs.pages.wait(n, n.pages.dirty())
			}
			break
		}
	}
	return w.close()
}

// throttle makes a writer wait while too much is dirty. The caller holds no lock.
func (fs *FS) throttle() error {
	dirty := int(fs.pages.ndirty.Load())
	if dirty < fs.pages.limit/4 {
		return nil
	}
	fs.flusher.writeSoon()
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
		f.writeSoon()
		f.moved.Wait()
	}
	return f.err
}

// progress wakes who waits for content to be written.
func (f *flusher) progress() {
	f.mu.Lock()
	f.moved.Broadcast()
	f.mu.Unlock()
}
