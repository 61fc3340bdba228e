package emu

import (
	"sync"
	"sync/atomic"

	"pinhole/fs/vfs"
)

// running counts who executes which file: such a file cannot be opened for writing, nor one that is open
// for writing be executed (ETXTBSY).
type running struct {
	some [256]atomic.Int32 // files by a hash of the number, so that most that are opened cost one load

	mu    sync.Mutex
	files map[vfs.Node]int
}

func (r *running) add(n vfs.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil {
		r.files = make(map[vfs.Node]int)
	}
	r.files[n]++
	r.some[n.Ino()%uint64(len(r.some))].Add(1)
}

func (r *running) remove(n vfs.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files[n]--; r.files[n] == 0 {
		delete(r.files, n)
	}
	r.some[n.Ino()%uint64(len(r.some))].Add(-1)
}

// has tells whether a process executes n.
func (r *running) has(n vfs.Node) bool {
	if r.some[n.Ino()%uint64(len(r.some))].Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.files[n] > 0
}

// written tells whether n is open for writing in a process.
func (k *Kernel) written(n vfs.Node) bool {
	for _, p := range k.processes() {
		if p.files.any(func(d *description) bool { return d.mode&modeWrite != 0 && d.node == n }) {
			return true
		}
	}
	return false
}

// any tells whether an open descriptor is one that f looks for.
func (f *fdTable) any(look func(*description) bool) bool {
	for fd := range *f.slots.Load() {
		if d := f.get(int32(fd)); d != nil {
			found := look(d)
			d.unref()
			if found {
				return true
			}
		}
	}
	return false
}
