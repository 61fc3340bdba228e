package emu

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// drain reads what a pipe has and logs it.
func (b *box) drain(what string, fd int) {
	p := b.buf(70000)
	n := b.do("drain "+what, unix.SYS_READ, fd, p, 70000)
	b.show("content", fmt.Sprintf("%.200q", p[:max(n, 0)]))
}

// TestLinuxSpliceArguments passes every kind of descriptor on both sides.
func TestLinuxSpliceArguments(t *testing.T) {
	asLinux(t, func(b *box) {
		type side struct {
			name string
			fd   int
		}
		open := func(name string, flags int) side {
			return side{fmt.Sprintf("%s %#x", name, flags), b.fd(name, unix.SYS_OPENAT, at, name, flags)}
		}
		b.creat("file", "0123456789")
		b.raw(unix.SYS_MKNODAT, at, "fifo", unix.S_IFIFO|0o644, 0)
		r, w := b.pipe(unix.O_NONBLOCK)
		r2, w2 := b.pipe(unix.O_NONBLOCK)
		sides := []side{{"r", r}, {"w", w}, {"r2", r2}, {"w2", w2}, {"-1", -1}, {"far", 777}, open("file", unix.O_RDWR), open("file", unix.O_RDONLY),
			open("file", unix.O_WRONLY), open("file", unix.O_RDWR|unix.O_APPEND), open("file", unix.O_PATH), open(".", 0),
			open("fifo", unix.O_RDWR|unix.O_NONBLOCK), open("fifo", unix.O_PATH), open("/dev/null", unix.O_RDWR), open("/dev/zero", unix.O_RDWR), open("/dev/full", unix.O_RDWR),
			{"eventfd", b.fd("eventfd", unix.SYS_EVENTFD2, 1, unix.EFD_NONBLOCK)}, {"timerfd", b.fd("timerfd", unix.SYS_TIMERFD_CREATE, 1, unix.TFD_NONBLOCK)},
			{"epoll", b.fd("epoll", unix.SYS_EPOLL_CREATE1, 0)}}
		for _, in := range sides {
			for _, out := range sides {
				b.mem.next = 0
				name := in.name + " to " + out.name
				for _, content := range []string{"", "abc"} {
					if content != "" {
						b.raw(unix.SYS_WRITE, w, b.str(content), 3)
						b.raw(unix.SYS_WRITE, w2, b.str(content), 3)
					}
					off, off2 := b.words(1), b.words(2)
					b.do("splice "+name, unix.SYS_SPLICE, in.fd, 0, out.fd, 0, 2, 0)
					b.do("in offset "+name, unix.SYS_SPLICE, in.fd, off, out.fd, 0, 2, 0)
					b.do("out offset "+name, unix.SYS_SPLICE, in.fd, 0, out.fd, off, 2, 0)
					b.do("offsets "+name, unix.SYS_SPLICE, in.fd, off2, out.fd, off, 2, 0)
					b.show("offsets", fmt.Sprint(off, off2))
					b.do("wild "+name, unix.SYS_SPLICE, in.fd, wild{}, out.fd, wild{}, 2, 0)
					b.do("wild out "+name, unix.SYS_SPLICE, in.fd, 0, out.fd, wild{}, 2, 0)
					b.do("negative "+name, unix.SYS_SPLICE, in.fd, b.words(^uint64(0)), out.fd, 0, 2, 0)
					b.do("negative out "+name, unix.SYS_SPLICE, in.fd, 0, out.fd, b.words(^uint64(0)), 2, 0)
					b.do("huge "+name, unix.SYS_SPLICE, in.fd, 0, out.fd, 0, -1, 0)
					b.do("flags "+name, unix.SYS_SPLICE, in.fd, 0, out.fd, 0, 2, 16)
					b.do("nothing "+name, unix.SYS_SPLICE, in.fd, wild{}, out.fd, 0, 0, 16)
					b.do("tee "+name, unix.SYS_TEE, in.fd, out.fd, 2, 0)
					b.do("tee flags "+name, unix.SYS_TEE, in.fd, out.fd, 2, 16)
					b.do("tee nothing "+name, unix.SYS_TEE, in.fd, out.fd, 0, 16)
					b.do("tee nothing "+name, unix.SYS_TEE, in.fd, out.fd, 0, 0)
					b.do("tee huge "+name, unix.SYS_TEE, in.fd, out.fd, -1, 0)
					b.do("seek", unix.SYS_LSEEK, in.fd, 0, unix.SEEK_CUR)
					b.do("seek", unix.SYS_LSEEK, out.fd, 0, unix.SEEK_CUR)
					b.drain("r", r)
					b.drain("r2", r2)
				}
			}
			p := b.str("memory")
			for _, flags := range []int{0, unix.SPLICE_F_NONBLOCK, unix.SPLICE_F_GIFT | unix.SPLICE_F_NONBLOCK, 16} {
				if flags == 0 && strings.ContainsAny(in.name[:1], "rf") {
					continue // it would wait
				}
				for i, v := range [][]byte{b.iov(p, 6), b.iov(p, 0), b.iov(p, 2, wild{}, 3), b.iov(wild{}, 3, p, 2), b.iov(p, -1), {}} {
					b.do(fmt.Sprint("vmsplice ", in.name, flags, i), unix.SYS_VMSPLICE, in.fd, v, len(v)/16, flags)
				}
				b.do("vmsplice wild "+in.name, unix.SYS_VMSPLICE, in.fd, wild{}, 1, flags)
				b.do("vmsplice many "+in.name, unix.SYS_VMSPLICE, in.fd, wild{}, 1025, flags)
				b.do("vmsplice huge "+in.name, unix.SYS_VMSPLICE, in.fd, wild{}, 1<<40, flags)
			}
			b.drain("r", r)
			b.drain("r2", r2)
		}
	})
}

// TestLinuxSpliceNoRoom has pipes that are full, or that nobody reads, take from every kind of descriptor.
func TestLinuxSpliceNoRoom(t *testing.T) {
	asLinux(t, func(b *box) {
		b.creat("file", "0123456789")
		_, full := b.pipe(unix.O_NONBLOCK)
		p := b.buf(4096)
		for b.raw(unix.SYS_WRITE, full, p, len(p)) > 0 {
		}
		unread, end := b.pipe(unix.O_NONBLOCK)
		b.raw(unix.SYS_CLOSE, unread)
		for _, to := range []int{full, end} {
			for _, path := range []string{"file", ".", "/dev/null", "/dev/zero"} {
				in := b.fd(path, unix.SYS_OPENAT, at, path, unix.O_RDONLY)
				b.do("splice "+path, unix.SYS_SPLICE, in, 0, to, 0, 2, 0)
				b.do("negative "+path, unix.SYS_SPLICE, in, b.words(^uint64(0)), to, 0, 2, 0)
			}
			in := b.fd("eventfd", unix.SYS_EVENTFD2, 1, unix.EFD_NONBLOCK)
			b.do("splice eventfd", unix.SYS_SPLICE, in, 0, to, 0, 8, 0)
			b.do("at eventfd", unix.SYS_SPLICE, in, b.words(0), to, 0, 8, 0)
		}
	})
}

func TestLinuxSplice(t *testing.T) {
	asLinux(t, func(b *box) {
		fd := b.creat("file", strings.Repeat("0123456789abcdef", 16<<10))
		out := b.creat("out", "")
		r, w := b.pipe(unix.O_NONBLOCK)
		r2, w2 := b.pipe(unix.O_NONBLOCK)
		p := b.buf(70000)
		at := func(what string, fd int) { b.do("position "+what, unix.SYS_LSEEK, fd, 0, unix.SEEK_CUR) }
		b.do("all the room", unix.SYS_SPLICE, fd, 0, w, 0, 1<<20, 0)
		at("in", fd)
		b.do("full", unix.SYS_SPLICE, fd, 0, w, 0, 1, 0)
		b.do("through", unix.SYS_SPLICE, r, 0, w2, 0, 4096, 0)
		b.do("tee to what is left", unix.SYS_TEE, r, w2, 1<<20, 0)
		b.do("tee to a full one", unix.SYS_TEE, r, w2, 1, 0)
		b.do("to a file", unix.SYS_SPLICE, r, 0, out, 0, 1<<20, 0)
		at("out", out)
		b.do("empty", unix.SYS_SPLICE, r, 0, out, 0, 1, 0)
		b.drain("r2", r2)
		b.do("at an offset", unix.SYS_SPLICE, fd, b.words(7), w, 0, 5, 0)
		at("in", fd)
		off := b.words(3)
		b.do("to an offset", unix.SYS_SPLICE, r, 0, out, off, 3, 0)
		b.show("offset", off)
		at("out", out)
		b.drain("r", r)
		b.do("behind the end", unix.SYS_SPLICE, fd, b.words(1<<20), w, 0, 5, 0)
		b.do("last", unix.SYS_SPLICE, fd, b.words(256<<10-3), w, 0, 50, 0)
		b.drain("r", r)
		b.do("pread", unix.SYS_PREAD64, out, p, 20, 0)
		b.show("out", string(p[:20]))

		// Packets stay packets, whole or in part.
		pr, pw := b.pipe(unix.O_NONBLOCK | unix.O_DIRECT)
		b.do("packet", unix.SYS_WRITE, pw, b.str("first"), 5)
		b.do("packet", unix.SYS_WRITE, pw, b.str("second"), 6)
		b.do("packet", unix.SYS_WRITE, pw, b.str("third"), 5)
		b.do("tee", unix.SYS_TEE, pr, w, 8, 0)
		b.do("splice part", unix.SYS_SPLICE, pr, 0, w2, 0, 7, 0)
		for range 3 {
			b.drain("tee", r)
			b.drain("splice", r2)
		}
		b.do("rest of a packet to a file", unix.SYS_SPLICE, pr, 0, out, 0, 2, 0)
		b.drain("rest", pr)
		b.drain("next", pr)
		b.drain("none", pr)
		b.do("not a packet", unix.SYS_SPLICE, fd, b.words(0), pw, 0, 8, 0)
		b.do("read some", unix.SYS_READ, pr, p, 3)
		b.drain("remains", pr)

		// Memory.
		b.do("vmsplice", unix.SYS_VMSPLICE, w, b.iov(b.str("ab"), 2, b.str("cde"), 3), 2, 0)
		b.do("vmsplice back", unix.SYS_VMSPLICE, r, b.iov(p, 1, p[10:], 100), 2, 0)
		b.show("memory", string(p[:1])+string(p[10:14]))
		b.do("vmsplice empty", unix.SYS_VMSPLICE, r, b.iov(p, 1), 1, unix.SPLICE_F_NONBLOCK)
		b.do("write", unix.SYS_WRITE, w, b.str("kept"), 4)
		b.do("vmsplice to nowhere", unix.SYS_VMSPLICE, r, b.iov(wild{}, 4), 1, 0)
		b.drain("r", r)

		// Into itself.
		b.do("write", unix.SYS_WRITE, w, b.str("0123456789"), 10)
		b.do("pipe to itself", unix.SYS_SPLICE, r, 0, w, 0, 1, 0)
		b.drain("r", r)

		// The ends.
		b.do("close", unix.SYS_CLOSE, w)
		b.do("end", unix.SYS_SPLICE, r, 0, w2, 0, 10, 0)
		b.do("end", unix.SYS_SPLICE, r, 0, out, 0, 10, 0)
		b.do("end", unix.SYS_TEE, r, w2, 10, 0)
		b.do("end", unix.SYS_VMSPLICE, r, b.iov(p, 10), 1, 0)
		b.do("close", unix.SYS_CLOSE, r2)
		b.do("end, nobody reads", unix.SYS_SPLICE, r, 0, w2, 0, 10, 0)
		b.do("nobody reads", unix.SYS_SPLICE, fd, 0, w2, 0, 10, 0)
		b.do("nobody reads", unix.SYS_SPLICE, pr, 0, w2, 0, 10, 0)
		b.do("write", unix.SYS_WRITE, pw, b.str("x"), 1)
		b.do("nobody reads", unix.SYS_SPLICE, pr, 0, w2, 0, 10, 0)
		b.do("nobody reads", unix.SYS_TEE, pr, w2, 10, 0)
		b.do("nobody reads", unix.SYS_VMSPLICE, w2, b.iov(p, 10), 1, 0)
		b.drain("still there", pr)
	})
}
