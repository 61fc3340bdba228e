package emu

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"pinhole/abi"
)

// spaceUsers are the processes in a space. Its lock comes before Process.mu and holds no other.
type spaceUsers struct {
	n       atomic.Int32         // processes
	quieter atomic.Pointer[Task] // the thread for which all others keep off: see quiet

	mu    sync.Mutex
	procs []*Process
}

// enter makes p one of those who are in the space.
func (s *space) enter(p *Process) {
	u := &s.users
	u.mu.Lock()
	u.procs = append(u.procs, p)
	u.n.Add(1)
	u.mu.Unlock()
	p.memory.Store(s)
}

// leave is called when p does not use the space any more and has another one, or none. The last one
// to leave empties it.
func (s *space) leave(p *Process) {
	u := &s.users
	u.mu.Lock()
	u.procs = slices.DeleteFunc(u.procs, func(o *Process) bool { return o == p })
	last := u.n.Add(-1) == 0
	u.mu.Unlock()
	s.quietWake()
	if last {
		s.release()
	}
}

// shared tells whether another thread than p's only one may run in the space.
func (s *space) shared(p *Process) bool { return p.live.Load() > 1 || s.users.n.Load() > 1 }

// rest keeps the task off the process's memory for as long as another thread needs that.
func (t *Task) rest() {
	t.state.Store(taskBlocked)
	t.quietWake()
	t.rested = true
	for t.attention.Load()&attQuiet != 0 {
		t.parker.park()
	}
	t.state.Store(taskRunning)
}

// quiet returns when all other threads in the space of the task's process are out of the guest and of
// calls, and keeps them there until unquiet: threads that compute come in at their next tick. EINTR
// when the process has to end. It is called with no lock held; calls of several threads come one
// after the other.
func (t *Task) quiet() abi.Errno {
	s := t.proc.mem()
	u := &s.users
	for {
		if t.attention.Load()&attExit != 0 {
			return abi.EINTR
		}
		if u.quieter.CompareAndSwap(nil, t) {
			break
		}
		if t.attention.Load()&attQuiet != 0 {
			t.rest()
		} else {
			runtime.Gosched() // the other has yet to tell us
		}
	}
	// Threads that are made from here on are told by who makes them: see joinQuiet.
	var others []*Task
	u.mu.Lock()
	for _, p := range u.procs {
		p.mu.Lock()
		for _, o := range p.tasks {
			if o != t {
				others = append(others, o)
				o.alert(attQuiet)
			}
		}
		p.mu.Unlock()
	}
	u.mu.Unlock()
	for _, o := range others {
		for o.state.Load() == taskRunning && o.proc.mem() == s {
			t.parker.park()
		}
	}
	return 0
}

// unquiet lets the threads that quiet stopped go on.
func (t *Task) unquiet() {
	u := &t.proc.mem().users
	u.mu.Lock()
	defer u.mu.Unlock()
	u.quieter.Store(nil)
	for _, p := range u.procs {
		p.mu.Lock()
		for _, o := range p.tasks {
			if o != t {
				o.calm(attQuiet)
				o.wake()
			}
		}
		p.mu.Unlock()
	}
}

// joinQuiet is called for a thread that was added to its process and does not run yet, with the
// process's lock held: it must not begin while another thread needs all to keep off.
func (t *Task) joinQuiet() {
	if t.proc.mem().users.quieter.Load() != nil {
		t.alert(attQuiet)
	}
}

// quietWake tells the thread in quiet that another one has stopped.
func (t *Task) quietWake() {
	if s := t.proc.mem(); s != nil {
		s.quietWake()
	}
}

func (s *space) quietWake() {
	if q := s.users.quieter.Load(); q != nil {
		q.wake()
	}
}
