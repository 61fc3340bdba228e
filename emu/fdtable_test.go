package emu

import (
	"encoding/binary"
	"sync"
	"testing"

	"pinhole/abi"
)

func TestDescriptorTable(t *testing.T) {
	w := newIOWorld(t, Config{})
	fd := w.open("/a", abi.O_CREAT|abi.O_RDWR)
	w.proc.limits[abi.RLIMIT_NOFILE].cur.Store(6)
	w.ok(w.fdDup(fd))
	w.ok(w.fdDup(fd))
	w.fails(abi.EMFILE)(w.fdDup(fd))
	w.fails(abi.EMFILE)(w.pathOpen(abi.AT_FDCWD, w.mem.str("/none"), abi.O_RDONLY, 0))
	w.fails(abi.EMFILE)(w.pipeCreate(w.mem.bad(), 0))
	w.fails(abi.EINVAL)(w.fdControl(fd, abi.F_DUPFD, 6))
	w.fails(abi.EMFILE)(w.fdControl(fd, abi.F_DUPFD, 5))
	w.fails(abi.EBADF)(w.fdDup2(fd, 6))
	w.ok(w.fdClose(4))
	if got := w.ok(w.fdDup(fd)); got != 4 {
		t.Errorf("dup returned %d, want the lowest free, 4", got)
	}
	w.proc.limits[abi.RLIMIT_NOFILE].cur.Store(abi.RLIM_INFINITY)
	w.ok(w.fdDup2(fd, maxDescriptors-1))
	w.fails(abi.EBADF)(w.fdDup2(fd, maxDescriptors))
	if got := w.ok(w.fdDup(fd)); got != 6 {
		t.Errorf("dup returned %d, want 6", got)
	}
	w.ok(w.fdControl(4, abi.F_SETFD, abi.FD_CLOEXEC))
	clone := w.proc.files.clone()
	w.proc.files.closeOnExec()
	for _, c := range []struct {
		f    *fdTable
		fd   int32
		open bool
	}{{w.proc.files, 4, false}, {w.proc.files, 5, true}, {clone, 4, true}, {clone, maxDescriptors - 1, true}, {clone, 7, false}} {
		d := c.f.get(c.fd)
		if (d != nil) != c.open {
			t.Errorf("descriptor %d: open is %v", c.fd, d != nil)
		}
		if d != nil {
			d.unref()
		}
	}
	clone.closeAll()
	w.leaks()
}

// TestDescriptorRace opens, duplicates and closes the same numbers from several threads, while
// others read through them: no description is lost, none is used after its end, and none is
// mistaken for what it was before. The numbers only ever stand for one file, and the descriptions
// that they give up are used again for pipes, which have no offset to read at.
func TestDescriptorRace(t *testing.T) {
	for range 20 { // each time the table has room to grow
		w := newIOWorld(t, Config{})
		fd := w.open("/a", abi.O_CREAT|abi.O_RDWR)
		w.ok(w.fileWrite(fd, w.mem.bytes("0123456789"), 10))
		var wg sync.WaitGroup
		for i := range 4 {
			o := w.thread()
			wg.Add(1)
			go func() {
				defer wg.Done()
				p, a := o.mem.alloc(4)
				path := o.mem.str("/a")
				for n := range 500 {
					to := int32(10 + (n+i)%3)
					switch (n + i) % 5 {
					case 0:
						o.fdDup2(fd, to)
					case 1:
						o.fdClose(to)
					case 2:
						if got, errno := o.pathOpen(abi.AT_FDCWD, path, abi.O_RDONLY, 0); errno == 0 {
							o.fdDup2(int32(got), to)
							o.fdClose(int32(got))
						}
					case 3:
						got, errno := o.filePread(to, a, 4, 3)
						switch {
						case errno == 0 && (got != 4 || binary.LittleEndian.Uint32(p) != 0x36353433):
							t.Errorf("read %d bytes, % x", got, p)
						case errno != 0 && errno != abi.EBADF:
							t.Error(errno)
						}
					case 4:
						r, wr, errno := o.newPipeEnds(0)
						if errno != 0 {
							t.Error(errno)
							continue
						}
						o.proc.files.dupTo(r, int32(20+n/10), false)
						wr.unref()
					}
				}
			}()
		}
		wg.Wait()
		w.leaks()
	}
}

// TestDescriptorReuse looks one number up while another thread opens it on a file, closes it, and
// opens another number on a pipe, whose description is the one that was just given up.
func TestDescriptorReuse(t *testing.T) {
	w := newIOWorld(t, Config{})
	w.fdClose(w.open("/a", abi.O_CREAT|abi.O_RDWR))
	f := w.proc.files
	done := make(chan bool)
	go func() {
		defer close(done)
		o := w.thread()
		path := o.mem.str("/a")
		for range 30000 {
			fd, _ := o.pathOpen(abi.AT_FDCWD, path, abi.O_RDONLY, 0)
			f.close(int32(fd))
			r, wr, errno := o.newPipeEnds(0)
			if errno != 0 {
				t.Error(errno)
				return
			}
			r.unref()
			wr.unref()
		}
	}()
	for n := 0; ; n++ {
		select {
		case <-done:
			w.leaks()
			return
		default:
		}
		for range 100 {
			d := f.get(3)
			if d == nil {
				continue
			}
			if _, ok := d.file.(regularFile); !ok {
				t.Fatalf("descriptor 3 is a %T", d.file)
			}
			d.unref()
		}
	}
}
