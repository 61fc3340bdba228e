package emu

import (
	"math/rand/v2"
	"testing"

	"pinhole/abi"
)

// lock makes a call of fcntl with a struct flock.
func (w *ioWorld) lock(fd, cmd int32, typ int16, start, n int64) (uint64, abi.Errno) {
	p, a := w.mem.alloc(abi.FlockSize)
	(&abi.Flock{Type: typ, Start: start, Len: n}).Encode(p)
	return w.fdControl(fd, cmd, uint64(a))
}

func TestLockWaits(t *testing.T) {
	w := newIOWorld(t, Config{})
	fd := w.open("/file", abi.O_CREAT|abi.O_RDWR)
	o := w.process()
	w.ok(w.lock(fd, abi.F_SETLK, abi.F_WRLCK, 0, 10))
	o.fails(abi.EAGAIN)(o.lock(fd, abi.F_SETLK, abi.F_RDLCK, 5, 1))

	wait := func(typ int16, start int64) (*ioWorld, chan callResult) {
		return o.run(func(o *ioWorld) (uint64, abi.Errno) { return o.lock(fd, abi.F_SETLKW, typ, start, 1) })
	}
	_, result := wait(abi.F_RDLCK, 5)
	o.blocked()
	w.ok(w.lock(fd, abi.F_SETLK, abi.F_UNLCK, 0, 5)) // not yet
	o.blocked()
	w.ok(w.lock(fd, abi.F_SETLK, abi.F_RDLCK, 5, 5)) // a reader is let in
	o.expect(result, callResult{0, 0})

	_, result = wait(abi.F_WRLCK, 7)
	o.blocked()
	w.ok(w.fdClose(fd)) // takes all locks of the process along
	o.expect(result, callResult{0, 0})

	fd2 := w.open("/file", abi.O_RDWR)
	w.ok(w.lock(fd2, abi.F_SETLK, abi.F_WRLCK, 100, 1))
	_, result = wait(abi.F_WRLCK, 100)
	o.blocked()
	o.alert(attExit)
	o.expect(result, callResult{0, errRestart})
	o.proc.files.closeAll()
	w.proc.files.closeAll()
	if n, c := len(w.kernel.io.locks.files), w.kernel.io.locks.count; n != 0 || c != 0 {
		t.Errorf("%d files are left with %d locks", n, c)
	}
	if n := len(w.kernel.io.locks.waits); n != 0 {
		t.Errorf("%d waits are left", n)
	}
}

func TestLockDeadlock(t *testing.T) {
	w := newIOWorld(t, Config{})
	fd := w.open("/file", abi.O_CREAT|abi.O_RDWR)
	o := w.process()
	w.ok(w.lock(fd, abi.F_SETLK, abi.F_WRLCK, 0, 1))
	o.ok(o.lock(fd, abi.F_SETLK, abi.F_WRLCK, 1, 1))
	_, result := o.run(func(o *ioWorld) (uint64, abi.Errno) { return o.lock(fd, abi.F_SETLKW, abi.F_WRLCK, 0, 1) })
	o.blocked()
	w.fails(abi.EDEADLK)(w.lock(fd, abi.F_SETLKW, abi.F_WRLCK, 1, 1))
	w.ok(w.lock(fd, abi.F_SETLK, abi.F_UNLCK, 0, 0))
	o.expect(result, callResult{0, 0})
}

func TestFlockWaits(t *testing.T) {
	w := newIOWorld(t, Config{})
	a := w.open("/file", abi.O_CREAT|abi.O_RDWR)
	b := w.open("/file", abi.O_RDWR)
	w.ok(w.fileLock(a, abi.LOCK_SH))
	w.ok(w.fileLock(b, abi.LOCK_SH))
	o, result := w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.fileLock(b, abi.LOCK_EX) })
	o.blocked()
	w.ok(w.fileLock(a, abi.LOCK_UN))
	o.expect(result, callResult{0, 0})
	o, result = w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.fileLock(a, abi.LOCK_SH) })
	o.blocked()
	o.alert(attExit)
	o.expect(result, callResult{0, errRestart})
	o, result = w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.fileLock(a, abi.LOCK_SH) })
	o.blocked()
	w.ok(w.fdClose(b))
	o.expect(result, callResult{0, 0})
	w.ok(w.fdClose(a))
	if n, c := len(w.kernel.io.locks.files), w.kernel.io.locks.count; n != 0 || c != 0 {
		t.Errorf("%d files are left with %d locks", n, c)
	}
}

// TestLockRanges compares ranges with a table of bytes.
func TestLockRanges(t *testing.T) {
	const bytes = 40
	rnd := rand.New(rand.NewPCG(1, 2))
	var f fileLocks
	owners := []lockOwner{new(fdTable), new(fdTable), new(fdTable)}
	var held [3][bytes]int // 0: none, 1: read, 2: write
	for step := range 20000 {
		o := rnd.IntN(3)
		r := recordLock{owner: owners[o], start: rnd.Int64N(bytes), write: rnd.IntN(2) == 0}
		r.end = min(r.start+rnd.Int64N(8), bytes-1)
		unlock := rnd.IntN(3) == 0
		if !unlock {
			want := false
			for i := r.start; i <= r.end; i++ {
				for other := range held {
					if other != o && (held[other][i] == 2 || held[other][i] == 1 && r.write) {
						want = true
					}
				}
			}
			if got := f.conflict(&r) != nil; got != want {
				t.Fatalf("step %d: conflict %v, want %v", step, got, want)
			}
			if want {
				continue
			}
		}
		f.change(r, unlock)
		for i := r.start; i <= r.end; i++ {
			held[o][i] = 0
			if !unlock {
				held[o][i] = 1
				if r.write {
					held[o][i] = 2
				}
			}
		}
		var is [3][bytes]int
		for _, l := range f.records {
			for i := l.start; i <= l.end; i++ {
				for o := range owners {
					if l.owner == owners[o] {
						if is[o][i] != 0 {
							t.Fatalf("step %d: two locks on byte %d", step, i)
						}
						is[o][i] = 1
						if l.write {
							is[o][i] = 2
						}
					}
				}
			}
		}
		if is != held {
			t.Fatalf("step %d: locks %+v, want %v", step, f.records, held)
		}
		for i, l := range f.records {
			for _, m := range f.records[:i] {
				if l.owner == m.owner && l.write == m.write && (l.end+1 == m.start || m.end+1 == l.start) {
					t.Fatalf("step %d: neighbours are not joined: %+v", step, f.records)
				}
			}
		}
	}
}
