package emu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLinuxEpollRandom does the same random steps natively and here.
func TestLinuxEpollRandom(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			asLinux(t, func(b *box) { randomEpoll(b, uint64(seed), 600) })
		})
	}
}

func randomEpoll(b *box, seed uint64, steps int) {
	r := rand.New(rand.NewPCG(seed, 1))
	type file struct {
		kind string
		fd   int
	}
	var files []file
	var queues []int
	for range 3 {
		queues = append(queues, b.queue())
	}
	p := b.buf(4096)
	some := func(kind string) (int, bool) {
		var of []int
		for _, f := range files {
			if f.kind == kind {
				of = append(of, f.fd)
			}
		}
		if len(of) == 0 {
			return 0, false
		}
		return of[r.IntN(len(of))], true
	}
	events := func() uint32 {
		var e uint32
		for _, bit := range []uint32{unix.EPOLLIN, unix.EPOLLOUT, unix.EPOLLRDNORM, unix.EPOLLHUP, unix.EPOLLRDHUP, unix.EPOLLPRI} {
			if r.IntN(2) == 0 {
				e |= bit
			}
		}
		for _, bit := range []uint32{unix.EPOLLET, unix.EPOLLONESHOT} {
			if r.IntN(3) == 0 {
				e |= bit
			}
		}
		if r.IntN(10) == 0 {
			e = e&(unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLET) | unix.EPOLLEXCLUSIVE
		}
		return e
	}
	closeFD := func(i int) {
		b.raw(unix.SYS_CLOSE, files[i].fd)
		b.open = slices.DeleteFunc(b.open, func(fd int) bool { return fd == files[i].fd })
		files = slices.Delete(files, i, i+1)
	}
	for step := range steps {
		q := queues[r.IntN(len(queues))]
		switch n := r.IntN(100); {
		case n < 8 && len(files) < 30:
			rd, wr := b.pipe(unix.O_NONBLOCK)
			files = append(files, file{"r", rd}, file{"w", wr})
		case n < 12 && len(files) < 30:
			flags := unix.EFD_NONBLOCK
			if r.IntN(2) == 0 {
				flags |= unix.EFD_SEMAPHORE
			}
			files = append(files, file{"e", b.fd("eventfd", unix.SYS_EVENTFD2, r.IntN(3), flags)})
		case n < 15 && len(files) > 0:
			f := files[r.IntN(len(files))]
			f.fd = b.fd("dup", unix.SYS_DUP, f.fd)
			files = append(files, f)
		case n < 20 && len(files) > 0:
			closeFD(r.IntN(len(files)))
		case n < 50 && len(files) > 0:
			op := []int{ctlAdd, ctlAdd, ctlMod, ctlMod, ctlDel}[r.IntN(5)]
			fd := files[r.IntN(len(files))].fd
			if r.IntN(12) == 0 {
				fd = queues[r.IntN(len(queues))]
			}
			ev := events()
			b.ctl(fmt.Sprintf("%d ctl %d %#x", step, op, ev), q, op, fd, ev, uint64(step))
		case n < 62:
			if fd, ok := some("w"); ok {
				b.do(fmt.Sprint(step, " write"), unix.SYS_WRITE, fd, p, []int{1, 10, 100}[r.IntN(3)]) // Linux counts pages: see TestLinuxEpollPipe for full ones
			}
		case n < 70:
			if fd, ok := some("r"); ok {
				b.do(fmt.Sprint(step, " read"), unix.SYS_READ, fd, p, []int{1, 100, 4096}[r.IntN(3)])
			}
		case n < 74:
			if fd, ok := some("e"); ok {
				b.do(fmt.Sprint(step, " signal"), unix.SYS_WRITE, fd, b.words([]uint64{0, 1, 2, math.MaxUint64 - 2}[r.IntN(4)]), 8)
			}
		case n < 78:
			if fd, ok := some("e"); ok {
				b.do(fmt.Sprint(step, " take"), unix.SYS_READ, fd, p, 8)
			}
		case n < 80:
			pf := b.buf(8)
			binary.LittleEndian.PutUint32(pf, uint32(q))
			pf[4] = 0xff
			b.do(fmt.Sprint(step, " poll"), unix.SYS_POLL, pf, 1, 0)
			b.show("events", binary.LittleEndian.Uint16(pf[6:]))
		default:
			b.events(fmt.Sprint(step, " wait"), q, 1+r.IntN(6))
		}
	}
}
