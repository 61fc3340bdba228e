package emu

import (
	"sync"
	"sync/atomic"
)

// runner is a goroutine that runs one task after another: its stack has already grown to what
// calls need, and going on is cheaper than beginning.
type runner struct {
	task   atomic.Pointer[Task]
	parker parker
	next   *runner
}

// runners are those that have nothing to do at the moment.
type runners struct {
	mu   sync.Mutex
	idle *runner
	n    int
}

// maxIdle is how many runners are kept.
const maxIdle = 64

// launch makes a goroutine run t, for by, which may be nil.
func (k *Kernel) launch(t, by *Task) {
	s := &k.runners
	s.mu.Lock()
	r := s.idle
	if r != nil {
		s.idle = r.next
		s.n--
	}
	s.mu.Unlock()
	if r == nil {
		r = &runner{}
		r.task.Store(t)
		go r.run(k)
		return
	}
	r.task.Store(t)
	if by != nil {
		by.wakes(&r.parker)
	} else {
		r.parker.unpark()
	}
}

func (r *runner) run(k *Kernel) {
	s := &k.runners
	for {
		r.task.Swap(nil).run()
		s.mu.Lock()
		if s.n == maxIdle {
			s.mu.Unlock()
			return
		}
		r.next = s.idle
		s.idle = r
		s.n++
		s.mu.Unlock()
		for r.task.Load() == nil {
			r.parker.park()
		}
	}
}
