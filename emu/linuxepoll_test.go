package emu

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pinhole/abi"
)

// ctl does an operation on an event queue.
func (b *box) ctl(what string, queue, op, fd int, events uint32, data uint64) int64 {
	b.t.Helper()
	p := b.buf(abi.EpollEventSize)
	(&abi.EpollEvent{Events: events, Data: data}).Encode(p)
	return b.do(what, unix.SYS_EPOLL_CTL, queue, op, fd, p)
}

// events logs what a queue tells at once.
func (b *box) events(what string, queue, n int) {
	b.t.Helper()
	p := b.buf(n * abi.EpollEventSize)
	r := b.do(what, unix.SYS_EPOLL_WAIT, queue, p, n, 0)
	b.show("events", decodeEvents(p, r))
}

func decodeEvents(p []byte, n int64) string {
	var s strings.Builder
	for i := range int(max(n, 0)) {
		var e abi.EpollEvent
		e.Decode(p[i*abi.EpollEventSize:])
		fmt.Fprintf(&s, "%d:%#x ", e.Data, e.Events)
	}
	return s.String()
}

func (b *box) queue() int {
	b.t.Helper()
	return b.fd("epoll_create1", unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC)
}

const (
	ctlAdd = unix.EPOLL_CTL_ADD
	ctlMod = unix.EPOLL_CTL_MOD
	ctlDel = unix.EPOLL_CTL_DEL
)

func TestLinuxEpollErrors(t *testing.T) {
	asLinux(t, func(b *box) {
		b.fd("size 0", unix.SYS_EPOLL_CREATE, 0)
		b.fd("size -1", unix.SYS_EPOLL_CREATE, -1)
		b.fd("size", unix.SYS_EPOLL_CREATE, 1)
		b.fd("flags", unix.SYS_EPOLL_CREATE1, 1)
		q, q2 := b.queue(), b.queue()
		b.do("F_GETFL", unix.SYS_FCNTL, q, unix.F_GETFL)
		b.do("F_GETFD", unix.SYS_FCNTL, q, unix.F_GETFD)
		p := b.buf(64)
		b.do("read", unix.SYS_READ, q, p, 8)
		b.do("write", unix.SYS_WRITE, q, p, 8)
		b.do("pread", unix.SYS_PREAD64, q, p, 8, 0)
		b.do("ioctl", unix.SYS_IOCTL, q, 0x541b, p)
		b.do("ftruncate", unix.SYS_FTRUNCATE, q, 0)
		st := b.buf(abi.StatSize)
		b.do("fstat", unix.SYS_FSTAT, q, st)
		b.show("mode", binary.LittleEndian.Uint32(st[24:]))
		link := b.buf(64)
		b.do("readlink", unix.SYS_READLINKAT, at, fmt.Sprintf("/proc/self/fd/%d", q), link, 64)
		b.show("link", string(link))
		b.fd("reopen", unix.SYS_OPENAT, at, fmt.Sprintf("/proc/self/fd/%d", q), unix.O_RDWR)

		file := b.creat("file", "x")
		dir := b.fd("dir", unix.SYS_OPENAT, at, ".", unix.O_RDONLY)
		path := b.fd("path", unix.SYS_OPENAT, at, "file", unix.O_PATH)
		r, w := b.pipe(0)
		devices := map[string]int{}
		for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
			devices[name] = b.fd(name, unix.SYS_OPENAT, at, "/dev/"+name, unix.O_RDONLY)
		}
		for _, op := range []int{ctlAdd, ctlMod, ctlDel, 0, 4, -1} {
			for _, c := range []struct {
				name   string
				queue  int
				fd     int
				events uint32
			}{
				{"file", q, file, 1}, {"dir", q, dir, 1}, {"path", q, path, 1}, {"-1", q, -1, 1}, {"closed", q, 9999, 1},
				{"itself", q, q, 1}, {"no queue", r, w, 1}, {"no queue and file", r, file, 1}, {"file and file", file, file, 1},
				{"closed queue", 9999, r, 1}, {"both closed", 9999, 9998, 1},
				{"null", q, devices["null"], 1}, {"zero", q, devices["zero"], 1}, {"full", q, devices["full"], 1},
				{"random", q, devices["random"], 1}, {"urandom", q, devices["urandom"], 1},
				{"exclusive queue", q, q2, unix.EPOLLIN | unix.EPOLLEXCLUSIVE},
				{"exclusive once", q, r, unix.EPOLLIN | unix.EPOLLEXCLUSIVE | unix.EPOLLONESHOT},
				{"exclusive pri", q, r, unix.EPOLLPRI | unix.EPOLLEXCLUSIVE},
				{"exclusive", q, r, unix.EPOLLIN | unix.EPOLLEXCLUSIVE | unix.EPOLLWAKEUP | unix.EPOLLET | unix.EPOLLHUP | unix.EPOLLERR},
				{"nothing", q, w, 0}, {"all", q, w, ^uint32(unix.EPOLLEXCLUSIVE)}, {"again", q, w, 1},
			} {
				b.ctl(fmt.Sprint(c.name, " op ", op), c.queue, op, c.fd, c.events, 1)
			}
		}
		b.ctl("add exclusive", q, ctlAdd, r, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, 1)
		b.ctl("modify exclusive", q, ctlMod, r, unix.EPOLLIN, 1)
		b.ctl("delete exclusive", q, ctlDel, r, unix.EPOLLIN, 1)
		for _, op := range []int{ctlAdd, ctlMod, ctlDel, 7} {
			b.do(fmt.Sprint("wild event op ", op), unix.SYS_EPOLL_CTL, q, op, r, wild{})
			b.do(fmt.Sprint("wild event and closed op ", op), unix.SYS_EPOLL_CTL, 9999, op, r, wild{})
		}
		b.do("DEL without an event", unix.SYS_EPOLL_CTL, q, ctlDel, r, 0)
		mask := b.words(0)
		for _, c := range []struct {
			name  string
			queue int
			p     any
			n     int
		}{
			{"n 0", q, p, 0}, {"n -1", q, p, -1}, {"n large", q, p, math.MaxInt32/12 + 1}, {"n most", q, p, math.MaxInt32 / 12},
			{"wild", q, wild{}, 1}, {"kernel", q, uint64(1) << 63, 1}, {"no queue", r, p, 1}, {"closed", 9999, p, 1}, {"closed and n 0", 9999, p, 0},
			{"no queue and kernel", r, uint64(1) << 63, 1},
		} {
			b.do("wait "+c.name, unix.SYS_EPOLL_WAIT, c.queue, c.p, c.n, 0)
			b.do("pwait "+c.name, unix.SYS_EPOLL_PWAIT, c.queue, c.p, c.n, 0, mask, 8)
			b.do("pwait size "+c.name, unix.SYS_EPOLL_PWAIT, c.queue, c.p, c.n, 0, mask, 4)
			b.do("pwait size without mask "+c.name, unix.SYS_EPOLL_PWAIT, c.queue, c.p, c.n, 0, 0, 4)
			b.do("pwait wild mask "+c.name, unix.SYS_EPOLL_PWAIT, c.queue, c.p, c.n, 0, wild{}, 8)
			b.do("pwait2 "+c.name, unix.SYS_EPOLL_PWAIT2, c.queue, c.p, c.n, b.words(0, 0), mask, 8)
			b.do("pwait2 time "+c.name, unix.SYS_EPOLL_PWAIT2, c.queue, c.p, c.n, b.words(0, 1e9), mask, 8)
			b.do("pwait2 negative "+c.name, unix.SYS_EPOLL_PWAIT2, c.queue, c.p, c.n, b.words(math.MaxUint64, 0), mask, 8)
			b.do("pwait2 wild time "+c.name, unix.SYS_EPOLL_PWAIT2, c.queue, c.p, c.n, wild{}, mask, 8)
		}
		b.ctl("add w", q, ctlAdd, w, unix.EPOLLOUT, 5)
		b.do("wait with an event, wild", unix.SYS_EPOLL_WAIT, q, wild{}, 4, 1000)
		b.events("still there", q, 4)
		edge, _ := b.mem.end(abi.EpollEventSize)
		q3, r3, w3 := b.queue(), 0, 0
		for i := range 3 {
			r3, w3 = b.pipe(0)
			b.ctl("add", q3, ctlAdd, w3, unix.EPOLLOUT|unix.EPOLLET, uint64(i))
		}
		_ = r3
		b.do("wait at the edge", unix.SYS_EPOLL_WAIT, q3, edge, 3, 0)
		b.show("event", decodeEvents(edge, 1))
		b.events("the others", q3, 4)
		b.do("wait 20 ms", unix.SYS_EPOLL_WAIT, q3, p, 3, 20)
		b.do("pwait2 20 ms", unix.SYS_EPOLL_PWAIT2, q3, p, 3, b.words(0, 20e6), 0, 0)
	})
}

func TestLinuxEpollPipe(t *testing.T) {
	asLinux(t, func(b *box) {
		q := b.queue()
		r, w := b.pipe(unix.O_NONBLOCK)
		p := b.buf(70000)
		write := func(n int) { b.do("write", unix.SYS_WRITE, w, p, n) }
		read := func(n int) { b.do("read", unix.SYS_READ, r, p, n) }
		for _, flags := range []uint32{0, unix.EPOLLET, unix.EPOLLONESHOT, unix.EPOLLET | unix.EPOLLONESHOT} {
			b.show("flags", flags)
			b.ctl("add r", q, ctlAdd, r, unix.EPOLLIN|unix.EPOLLRDNORM|unix.EPOLLOUT|flags, 1)
			b.ctl("add w", q, ctlAdd, w, unix.EPOLLOUT|unix.EPOLLIN|flags, 2)
			b.events("at first", q, 4)
			b.events("again", q, 4)
			write(10)
			b.events("content", q, 4)
			b.events("content again", q, 4)
			write(10)
			b.events("more content", q, 4)
			read(5)
			b.events("less content", q, 4)
			write(0)
			b.events("nothing written", q, 4)
			b.ctl("mod r", q, ctlMod, r, unix.EPOLLIN|flags, 3)
			b.events("modified", q, 4)
			b.ctl("mod r to nothing", q, ctlMod, r, flags, 4)
			b.events("modified", q, 4)
			b.ctl("mod w", q, ctlMod, w, unix.EPOLLOUT|flags, 5)
			read(100)
			b.events("drained", q, 4)
			write(70000)
			b.events("full", q, 4)
			read(70000)
			b.events("drained", q, 4)
			write(65536)
			b.ctl("mod r", q, ctlMod, r, unix.EPOLLIN|flags, 6)
			b.ctl("mod w", q, ctlMod, w, unix.EPOLLOUT|flags, 7)
			read(4096)
			b.events("some room, one at a time", q, 1)
			b.events("the other", q, 1)
			b.events("and again", q, 1)
			read(65536)
			b.events("drained", q, 4)
			b.ctl("del r", q, ctlDel, r, 0, 0)
			b.ctl("del r again", q, ctlDel, r, 0, 0)
			b.ctl("del w", q, ctlDel, w, 0, 0)
			b.events("nothing left", q, 4)
		}
	})
}

// TestLinuxEpollClose: descriptors that are closed, duplicated, and used again.
func TestLinuxEpollClose(t *testing.T) {
	asLinux(t, func(b *box) {
		q := b.queue()
		r, w := b.pipe(0)
		b.ctl("add r", q, ctlAdd, r, unix.EPOLLIN, 1)
		b.ctl("add w", q, ctlAdd, w, unix.EPOLLOUT, 2)
		dup := b.fd("dup", unix.SYS_DUP, r)
		b.ctl("add the duplicate", q, ctlAdd, dup, unix.EPOLLIN, 3)
		b.do("write", unix.SYS_WRITE, w, b.str("x"), 1)
		b.events("both", q, 8)
		b.do("close", unix.SYS_CLOSE, r)
		b.events("one closed", q, 8)
		b.ctl("del the closed one", q, ctlDel, r, 0, 0)
		b.ctl("mod the closed one", q, ctlMod, r, unix.EPOLLIN, 4)
		r2, w2 := b.pipe(0) // takes the number
		b.ctl("mod another of that number", q, ctlMod, r2, unix.EPOLLIN, 4)
		b.ctl("add another of that number", q, ctlAdd, r2, unix.EPOLLIN, 5)
		b.do("write", unix.SYS_WRITE, w2, b.str("x"), 1)
		b.events("all three", q, 8)
		b.do("close the duplicate", unix.SYS_CLOSE, dup)
		b.events("w in error, and the other", q, 8)
		b.do("close w", unix.SYS_CLOSE, w)
		b.events("the other", q, 8)
		b.do("close w2", unix.SYS_CLOSE, w2)
		b.events("hung up with content", q, 8)
		b.do("read", unix.SYS_READ, r2, b.buf(8), 8)
		b.events("hung up", q, 8)
		b.do("read", unix.SYS_READ, r2, b.buf(8), 8)
		b.do("close r2", unix.SYS_CLOSE, r2)
		b.events("nothing", q, 8)

		// A description that two queues watch, and one that is watched when its queue goes.
		q2 := b.queue()
		r3, w3 := b.pipe(0)
		for _, queue := range []int{q, q2} {
			b.ctl("add", queue, ctlAdd, r3, unix.EPOLLIN|unix.EPOLLET, 6)
			b.ctl("add", queue, ctlAdd, w3, unix.EPOLLOUT|unix.EPOLLET, 7)
		}
		b.do("write", unix.SYS_WRITE, w3, b.str("x"), 1)
		b.events("first queue", q, 8)
		b.do("close first queue", unix.SYS_CLOSE, q)
		b.do("write", unix.SYS_WRITE, w3, b.str("x"), 1)
		b.events("second queue", q2, 8)
		b.do("close", unix.SYS_CLOSE, r3)
		b.events("second queue", q2, 8)
		b.do("close", unix.SYS_CLOSE, w3)
		b.events("second queue", q2, 8)
	})
}

func TestLinuxEpollNested(t *testing.T) {
	asLinux(t, func(b *box) {
		var q []int
		for range 8 {
			q = append(q, b.queue())
		}
		for i := range 7 {
			b.ctl(fmt.Sprint("chain ", i), q[i], ctlAdd, q[i+1], unix.EPOLLIN, uint64(i))
		}
		for i := range 8 {
			for j := range 8 {
				b.ctl(fmt.Sprint("circle ", i, j), q[i], ctlAdd, q[j], unix.EPOLLIN, uint64(i))
				if i != j {
					b.ctl(fmt.Sprint("circle ", i, j), q[i], ctlDel, q[j], unix.EPOLLIN, uint64(i))
				}
			}
		}
		for i := range 8 { // a tree: 0 over 1 and 2, those over 3 and 4, and 0 over 4 too
			for j := range 8 {
				if i != j {
					b.ctl("clear", q[i], ctlDel, q[j], 0, 0)
				}
			}
		}
		for _, flags := range []uint32{0, unix.EPOLLET, unix.EPOLLONESHOT} {
			b.show("flags", flags)
			edges := [][2]int{{0, 1}, {0, 2}, {1, 3}, {2, 4}, {0, 4}}
			for _, e := range edges {
				b.ctl(fmt.Sprint("tree ", e), q[e[0]], ctlAdd, q[e[1]], unix.EPOLLIN|flags, uint64(e[1]))
			}
			r, w := b.pipe(0)
			b.ctl("leaf", q[3], ctlAdd, r, unix.EPOLLIN|flags, 100)
			b.ctl("leaf", q[4], ctlAdd, r, unix.EPOLLIN|flags, 101)
			look := func(what string) {
				pf := b.buf(8 * 5)
				for i := range 5 {
					binary.LittleEndian.PutUint32(pf[8*i:], uint32(q[i]))
					pf[8*i+4] = 0xff
				}
				b.do(what, unix.SYS_POLL, pf, 5, 0)
				for i := range 5 {
					b.show("poll", binary.LittleEndian.Uint16(pf[8*i+6:]))
				}
				for _, i := range []int{0, 1, 2, 3, 4, 0, 4, 3, 0} {
					b.events(fmt.Sprint(what, " ", i), q[i], 8)
				}
			}
			look("quiet")
			b.do("write", unix.SYS_WRITE, w, b.str("x"), 1)
			look("content")
			b.do("write", unix.SYS_WRITE, w, b.str("x"), 1)
			look("more")
			b.do("read", unix.SYS_READ, r, b.buf(8), 8)
			look("read")
			b.do("write", unix.SYS_WRITE, w, b.str("x"), 1)
			for _, i := range []int{1, 2} {
				b.ctl("mod", q[0], ctlMod, q[i], unix.EPOLLIN|flags, uint64(i))
			}
			look("modified")
			b.do("close", unix.SYS_CLOSE, w)
			look("hung up")
			b.do("close", unix.SYS_CLOSE, r)
			look("closed")
			for _, e := range edges {
				b.ctl(fmt.Sprint("cut ", e), q[e[0]], ctlDel, q[e[1]], 0, 0)
			}
		}
		b.ctl("add", q[0], ctlAdd, q[1], unix.EPOLLIN, 1)
		b.do("close the inner", unix.SYS_CLOSE, q[1])
		b.events("closed", q[0], 1)
		b.ctl("up", q[2], ctlAdd, q[3], unix.EPOLLIN, 1)
		b.do("close the outer", unix.SYS_CLOSE, q[2])
		b.ctl("down", q[3], ctlAdd, q[4], unix.EPOLLIN, 1)
	})
}
