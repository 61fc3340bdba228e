package emu

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLinuxPipe(t *testing.T) {
	asLinux(t, func(b *box) {
		b.do("flags", unix.SYS_PIPE2, b.buf(8), 1)
		b.do("wild", unix.SYS_PIPE2, wild{}, 0)
		r, w := b.pipe(unix.O_NONBLOCK)
		for _, fd := range []int{r, w} {
			b.do("F_GETFL", unix.SYS_FCNTL, fd, unix.F_GETFL)
			b.do("F_GETPIPE_SZ", unix.SYS_FCNTL, fd, unix.F_GETPIPE_SZ)
		}
		p := b.buf(200000)
		b.do("empty", unix.SYS_READ, r, p, 10)
		b.do("nothing", unix.SYS_READ, r, wild{}, 0)
		b.do("fill", unix.SYS_WRITE, w, p, 200000)
		b.do("full", unix.SYS_WRITE, w, p, 1)
		b.do("FIONREAD", unix.SYS_IOCTL, r, 0x541b, p)
		b.show("content", binary.LittleEndian.Uint32(p))
		b.do("smaller than its content", unix.SYS_FCNTL, r, unix.F_SETPIPE_SZ, 4096)
		b.do("drain some", unix.SYS_READ, r, p, 4096)
		b.do("atomic", unix.SYS_WRITE, w, p, 4096)
		b.do("drain", unix.SYS_READ, r, p, 200000)
		for _, size := range []int64{0, 1, 4096, 4097, 65537, 1 << 20, 1 << 31, 1<<31 + 1, -1} {
			b.do(fmt.Sprint("size ", size), unix.SYS_FCNTL, r, unix.F_SETPIPE_SZ, size)
		}
		b.do("size", unix.SYS_FCNTL, w, unix.F_SETPIPE_SZ, 8192)
		b.do("small", unix.SYS_WRITE, w, p, 10000)
		b.do("drain", unix.SYS_READ, r, p, 200000)
		b.do("almost full", unix.SYS_WRITE, w, p, 5000)
		b.do("wrap", unix.SYS_READ, r, p, 4999)
		b.do("wrap", unix.SYS_WRITE, w, b.str("wrapped around"), 14)
		n := b.do("wrap", unix.SYS_READ, r, p, 100)
		b.show("content", string(p[1:max(n, 1)]))
		b.do("write wild", unix.SYS_WRITE, w, wild{}, 10)
		b.do("nothing came", unix.SYS_READ, r, p, 100)
		b.do("write", unix.SYS_WRITE, w, b.str("abc"), 3)
		b.do("read wild", unix.SYS_READ, r, wild{}, 10)
		n = b.do("still there", unix.SYS_READ, r, p, 100)
		b.show("content", string(p[:max(n, 0)]))
		b.do("read the writer", unix.SYS_READ, w, p, 1)
		b.do("write the reader", unix.SYS_WRITE, r, p, 1)
		for _, cmd := range []int{unix.F_GETPIPE_SZ, unix.F_SETPIPE_SZ} {
			file := b.creat("file", "")
			b.do("not a pipe", unix.SYS_FCNTL, file, cmd, 4096)
		}
		b.do("write", unix.SYS_WRITE, w, b.str("last"), 4)
		b.do("close", unix.SYS_CLOSE, w)
		b.do("rest", unix.SYS_READ, r, p, 100)
		b.do("end", unix.SYS_READ, r, p, 100)
		r, w = b.pipe(unix.O_NONBLOCK)
		b.do("close", unix.SYS_CLOSE, r)
		b.do("nobody reads", unix.SYS_WRITE, w, p, 1)
		b.do("nobody reads nothing", unix.SYS_WRITE, w, p, 0)
	})
}

// TestLinuxPackets: a packet has a page of the pipe, however small it is; reads get one each, or its beginning.
func TestLinuxPackets(t *testing.T) {
	asLinux(t, func(b *box) {
		r, w := b.pipe(unix.O_DIRECT | unix.O_NONBLOCK)
		p := b.buf(10000)
		b.raw(unix.SYS_FCNTL, w, unix.F_SETPIPE_SZ, 4*4096)
		for _, n := range []int{1, 2, 3, 4, 5, 10000} {
			b.do("write", unix.SYS_WRITE, w, p, n)
		}
		b.do("too small for them", unix.SYS_FCNTL, w, unix.F_SETPIPE_SZ, 2*4096)
		for _, n := range []int{1, 1, 10, 4, 1} {
			b.do("read", unix.SYS_READ, r, p, n)
		}
		for _, n := range []int{10000, 3000, 1} {
			b.do("write", unix.SYS_WRITE, w, p, n)
		}
		for range 5 {
			b.do("read", unix.SYS_READ, r, p, len(p))
		}
	})
}

func TestLinuxFIFO(t *testing.T) {
	asLinux(t, func(b *box) {
		b.do("mknod", unix.SYS_MKNODAT, at, "fifo", unix.S_IFIFO|0o644, 0)
		p := b.buf(64)
		poll := func(what string, fds ...int) {
			q := b.buf(8 * len(fds))
			for i, fd := range fds {
				binary.LittleEndian.PutUint32(q[8*i:], uint32(fd))
				q[8*i+4] = 0xff
			}
			b.do("poll "+what, unix.SYS_POLL, q, len(fds), 0)
			for i := range fds {
				b.show("events", binary.LittleEndian.Uint16(q[8*i+6:]))
			}
		}
		b.fd("no reader", unix.SYS_OPENAT, at, "fifo", unix.O_WRONLY|unix.O_NONBLOCK)
		r := b.fd("reader", unix.SYS_OPENAT, at, "fifo", unix.O_RDONLY|unix.O_NONBLOCK)
		poll("before any writer", r)
		b.do("no writer", unix.SYS_READ, r, p, 1)
		w := b.fd("writer", unix.SYS_OPENAT, at, "fifo", unix.O_WRONLY|unix.O_NONBLOCK)
		poll("open", r, w)
		b.do("empty", unix.SYS_READ, r, p, 1)
		b.do("write", unix.SYS_WRITE, w, b.str("abc"), 3)
		poll("content", r, w)
		b.do("close", unix.SYS_CLOSE, w)
		poll("closed with content", r)
		b.do("read", unix.SYS_READ, r, p, 10)
		poll("closed", r)
		b.do("end", unix.SYS_READ, r, p, 10)
		w = b.fd("writer again", unix.SYS_OPENAT, at, "fifo", unix.O_WRONLY|unix.O_NONBLOCK)
		poll("open again", r, w)
		b.do("lost", unix.SYS_WRITE, w, b.str("abc"), 3)
		b.do("close", unix.SYS_CLOSE, r)
		poll("no reader", w)
		b.do("close", unix.SYS_CLOSE, w)
		rw := b.fd("both", unix.SYS_OPENAT, at, "fifo", unix.O_RDWR)
		poll("both", rw)
		b.do("F_GETFL", unix.SYS_FCNTL, rw, unix.F_GETFL)
		b.do("write", unix.SYS_WRITE, rw, b.str("abc"), 3)
		b.do("read", unix.SYS_READ, rw, p, 10)
		b.do("seek", unix.SYS_LSEEK, rw, 0, 0)
		b.fd("truncate", unix.SYS_OPENAT, at, "fifo", unix.O_RDWR|unix.O_TRUNC)
		b.fd("3", unix.SYS_OPENAT, at, "fifo", 3)
	})
}

func TestLinuxPoll(t *testing.T) {
	asLinux(t, func(b *box) {
		file := b.creat("file", "x")
		dir := b.fd("dir", unix.SYS_OPENAT, at, ".", unix.O_RDONLY)
		path := b.fd("path", unix.SYS_OPENAT, at, "file", unix.O_PATH)
		ro := b.fd("ro", unix.SYS_OPENAT, at, "file", unix.O_RDONLY)
		r, w := b.pipe(0)
		closedR, w2 := b.pipe(0)
		r2, closedW := b.pipe(0)
		b.do("close", unix.SYS_CLOSE, closedR)
		b.do("close", unix.SYS_CLOSE, closedW)
		all := []int{file, dir, path, ro, r, w, w2, r2, closedR, -1, -5, 777}
		for _, events := range []uint16{0, unix.POLLIN, unix.POLLOUT, unix.POLLPRI, 0xffff} {
			q := b.buf(8 * len(all))
			for i, fd := range all {
				binary.LittleEndian.PutUint32(q[8*i:], uint32(fd))
				binary.LittleEndian.PutUint16(q[8*i+4:], events)
			}
			b.do(fmt.Sprintf("poll %#x", events), unix.SYS_POLL, q, len(all), 0)
			for i := range all {
				b.show(fmt.Sprint("events of ", i), binary.LittleEndian.Uint16(q[8*i+6:]))
			}
			ts := b.words(0, 0)
			b.do(fmt.Sprintf("ppoll %#x", events), unix.SYS_PPOLL, q, len(all), ts, b.words(0), 8)
		}
		one := b.buf(8)
		binary.LittleEndian.PutUint32(one, uint32(r))
		one[4] = unix.POLLIN
		b.do("timeout", unix.SYS_POLL, one, 1, 1)
		b.do("wild", unix.SYS_POLL, wild{}, 1, 0)
		b.do("none", unix.SYS_POLL, wild{}, 0, 0)
		b.do("many", unix.SYS_POLL, one, 100000000, 0)
		b.do("negative", unix.SYS_POLL, one, -1, 0)
		b.do("timeout", unix.SYS_PPOLL, one, 1, b.words(0, 1000), 0, 0)
		b.do("invalid timeout", unix.SYS_PPOLL, one, 1, b.words(0, 1000000000), 0, 0)
		b.do("negative timeout", unix.SYS_PPOLL, one, 1, b.words(^uint64(0), 0), 0, 0)
		b.do("wild timeout", unix.SYS_PPOLL, one, 1, wild{}, 0, 0)
		b.do("mask size", unix.SYS_PPOLL, one, 1, b.words(0, 0), b.words(0), 4)
		b.do("wild mask", unix.SYS_PPOLL, one, 1, b.words(0, 0), wild{}, 8)
		b.do("null mask", unix.SYS_PPOLL, one, 1, b.words(0, 0), 0, 4)
		ts := b.words(5, 0)
		one[4] = unix.POLLOUT
		binary.LittleEndian.PutUint32(one, uint32(w))
		b.do("time left", unix.SYS_PPOLL, one, 1, ts, 0, 0)
		b.show("seconds left", binary.LittleEndian.Uint64(ts))
	})
}

func TestLinuxSelect(t *testing.T) {
	asLinux(t, func(b *box) {
		// Numbers are the same here and there: the sets are compared as they are.
		base := 600
		dup := func(fd, to int) { b.raw(unix.SYS_DUP2, fd, to); b.open = append(b.open, to) }
		r, w := b.pipe(0)
		gone, w2 := b.pipe(0)
		r2, gone2 := b.pipe(0)
		b.do("close", unix.SYS_CLOSE, gone)
		b.do("close", unix.SYS_CLOSE, gone2)
		for i, fd := range []int{b.creat("file", "x"), r, w, w2, r2} {
			dup(fd, base+i)
		}
		set := func(fds ...int) []byte {
			s := make([]uint64, 16)
			for _, fd := range fds {
				s[fd/64] |= 1 << (fd % 64)
			}
			return b.words(s...)
		}
		zero := func() []byte { return b.words(0, 0) }
		everything := []int{base, base + 1, base + 2, base + 3, base + 4}
		x, y, z := set(everything...), set(everything...), set(everything...)
		b.do("all", unix.SYS_PSELECT6, base+5, x, y, z, zero(), 0)
		b.show("sets", fmt.Sprint(x, y, z))
		b.do("write", unix.SYS_WRITE, w, b.str("x"), 1)
		x, y, z = set(everything...), set(everything...), set(everything...)
		b.do("all", unix.SYS_PSELECT6, base+5, x, y, z, zero(), 0)
		b.show("sets", fmt.Sprint(x, y, z))
		x = set(base, base+1)
		b.do("only the first", unix.SYS_PSELECT6, base+1, x, 0, 0, zero(), 0)
		b.show("set", fmt.Sprint(x))
		b.do("closed", unix.SYS_PSELECT6, base+40, set(base+20), 0, 0, zero(), 0)
		b.do("none", unix.SYS_PSELECT6, 0, wild{}, 0, 0, zero(), 0)
		b.do("wild", unix.SYS_PSELECT6, base, wild{}, 0, 0, zero(), 0)
		b.do("negative", unix.SYS_PSELECT6, -1, 0, 0, 0, zero(), 0)
		b.do("timeout", unix.SYS_PSELECT6, 0, 0, 0, 0, b.words(0, 1000), 0)
		b.do("invalid timeout", unix.SYS_PSELECT6, 0, 0, 0, 0, b.words(0, 1<<40), 0)
		b.do("wild timeout", unix.SYS_PSELECT6, -1, 0, 0, 0, wild{}, 0)
		b.do("wild mask", unix.SYS_PSELECT6, 0, 0, 0, 0, zero(), wild{})
		b.do("mask size", unix.SYS_PSELECT6, 0, 0, 0, 0, zero(), b.words(uint64(addressOf(zero())), 4))
		b.do("mask", unix.SYS_PSELECT6, 0, 0, 0, 0, zero(), b.words(uint64(addressOf(zero())), 8))
		b.do("no mask", unix.SYS_PSELECT6, 0, 0, 0, 0, zero(), b.words(0, 4))
		x = set(base + 1)
		b.raw(unix.SYS_READ, r, b.buf(1), 1)
		b.do("times out", unix.SYS_PSELECT6, base+5, x, 0, 0, b.words(0, 1000), 0)
		b.show("set", fmt.Sprint(x))
	})
}

func TestLinuxLock(t *testing.T) {
	asLinux(t, func(b *box) {
		fd := b.creat("file", "0123456789")
		other := b.fd("other", unix.SYS_OPENAT, at, "file", unix.O_RDWR)
		ro := b.fd("ro", unix.SYS_OPENAT, at, "file", unix.O_RDONLY)
		wo := b.fd("wo", unix.SYS_OPENAT, at, "file", unix.O_WRONLY)
		path := b.fd("path", unix.SYS_OPENAT, at, "file", unix.O_PATH)
		none := b.fd("none", unix.SYS_OPENAT, at, "file", 3)
		dir := b.fd("dir", unix.SYS_OPENAT, at, ".", unix.O_RDONLY)
		lock := func(typ, whence int, start, n int64, pid int) []byte {
			p := b.buf(32)
			binary.LittleEndian.PutUint16(p, uint16(typ))
			binary.LittleEndian.PutUint16(p[2:], uint16(whence))
			binary.LittleEndian.PutUint64(p[8:], uint64(start))
			binary.LittleEndian.PutUint64(p[16:], uint64(n))
			binary.LittleEndian.PutUint32(p[24:], uint32(pid))
			return p
		}
		show := func(p []byte) {
			b.show("lock", fmt.Sprint(binary.LittleEndian.Uint32(p), int64(binary.LittleEndian.Uint64(p[8:])), binary.LittleEndian.Uint64(p[16:])))
		}
		for _, cmd := range []int{unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW} {
			for _, f := range []int{fd, ro, wo, path, none, dir, -1} {
				for _, typ := range []int{unix.F_RDLCK, unix.F_WRLCK, unix.F_UNLCK, 3, -1} {
					p := lock(typ, 0, 0, 1, 0)
					b.do(fmt.Sprintf("%d type %d", cmd, typ), unix.SYS_FCNTL, f, cmd, p)
					show(p)
				}
				b.raw(unix.SYS_FCNTL, f, unix.F_SETLK, lock(unix.F_UNLCK, 0, 0, 0, 0))
				b.raw(unix.SYS_FCNTL, f, unix.F_OFD_SETLK, lock(unix.F_UNLCK, 0, 0, 0, 0))
			}
			b.do("wild", unix.SYS_FCNTL, fd, cmd, wild{})
			b.do("pid", unix.SYS_FCNTL, fd, cmd, lock(unix.F_RDLCK, 0, 0, 1, 7))
			for _, r := range [][3]int64{{0, -1, 1}, {0, 5, -5}, {0, 5, -6}, {1, 0, 1}, {2, -10, 10}, {2, -11, 10}, {3, 0, 0},
				{0, 1<<63 - 1, 1}, {0, 1<<63 - 1, 2}, {2, 1<<63 - 1, 1}, {0, 0, 1<<63 - 1}, {0, 1, 1<<63 - 1}, {2, 0, -1 << 63}} {
				p := lock(unix.F_RDLCK, int(r[0]), r[1], r[2], 0)
				b.do(fmt.Sprint("range ", r), unix.SYS_FCNTL, fd, cmd, p)
				b.raw(unix.SYS_FCNTL, fd, unix.F_SETLK, lock(unix.F_UNLCK, 0, 0, 0, 0))
				b.raw(unix.SYS_FCNTL, fd, unix.F_OFD_SETLK, lock(unix.F_UNLCK, 0, 0, 0, 0))
			}
		}

		// Locks of descriptions exclude each other even in one process.
		set := func(what string, f, typ int, start, n int64) {
			b.do(what, unix.SYS_FCNTL, f, unix.F_OFD_SETLK, lock(typ, 0, start, n, 0))
		}
		query := func(f, typ int, start, n int64) {
			p := lock(typ, 0, start, n, 0)
			b.do("query", unix.SYS_FCNTL, f, unix.F_OFD_GETLK, p)
			show(p)
		}
		set("write 10-19", fd, unix.F_WRLCK, 10, 10)
		set("read over it", other, unix.F_RDLCK, 0, 11)
		set("read before it", other, unix.F_RDLCK, 0, 10)
		set("upgrade into it", other, unix.F_WRLCK, 5, 6)
		set("adjacent", fd, unix.F_WRLCK, 20, 5)
		query(other, unix.F_RDLCK, 24, 1)
		set("hole", fd, unix.F_UNLCK, 15, 2)
		query(other, unix.F_RDLCK, 15, 100)
		query(other, unix.F_RDLCK, 15, 2)
		set("into the hole", other, unix.F_WRLCK, 15, 2)
		query(fd, unix.F_RDLCK, 0, 0)
		query(fd, unix.F_WRLCK, 0, 0)
		set("downgrade", fd, unix.F_RDLCK, 10, 3)
		query(other, unix.F_WRLCK, 10, 1)
		set("to the end", fd, unix.F_WRLCK, 100, 0)
		query(other, unix.F_WRLCK, 1<<40, 1)
		b.do("dup", unix.SYS_DUP2, fd, 700)
		b.do("close dup", unix.SYS_CLOSE, 700)
		query(other, unix.F_WRLCK, 1<<40, 1)
		// POSIX locks of this process against them.
		b.do("process against description", unix.SYS_FCNTL, fd, unix.F_SETLK, lock(unix.F_WRLCK, 0, 100, 1, 0))
		b.do("process", unix.SYS_FCNTL, fd, unix.F_SETLK, lock(unix.F_WRLCK, 0, 50, 1, 0))
		set("description against process", fd, unix.F_RDLCK, 50, 1)
		b.do("close another", unix.SYS_CLOSE, wo)
		set("process has lost its locks", fd, unix.F_RDLCK, 50, 1)
		b.do("close", unix.SYS_CLOSE, fd)
		query(other, unix.F_WRLCK, 20, 0)

		a := b.fd("a", unix.SYS_OPENAT, at, "file", unix.O_RDONLY)
		c := b.fd("c", unix.SYS_OPENAT, at, "file", unix.O_RDONLY)
		d := b.fd("dup", unix.SYS_DUP, a)
		for _, op := range []struct {
			what   string
			fd, op int
		}{
			{"shared", a, unix.LOCK_SH}, {"shared twice", c, unix.LOCK_SH | unix.LOCK_NB}, {"exclusive", c, unix.LOCK_EX | unix.LOCK_NB},
			{"lost", a, unix.LOCK_EX | unix.LOCK_NB}, {"c again", c, unix.LOCK_SH | unix.LOCK_NB}, {"by dup", d, unix.LOCK_SH | unix.LOCK_NB},
			{"unlock", d, unix.LOCK_UN}, {"free", c, unix.LOCK_EX | unix.LOCK_NB}, {"unlock", c, unix.LOCK_UN}, {"unlock", c, unix.LOCK_UN},
			{"none", a, 0}, {"both", a, 3}, {"flag alone", a, unix.LOCK_NB}, {"unknown", a, 64}, {"path", path, unix.LOCK_SH}, {"mode 3", none, unix.LOCK_SH},
			{"mode 3", none, unix.LOCK_UN}, {"closed", 777, unix.LOCK_SH}, {"closed and unknown", 777, 99}, {"dir", dir, unix.LOCK_EX},
			{"exclusive", a, unix.LOCK_EX},
		} {
			b.do("flock "+op.what, unix.SYS_FLOCK, op.fd, op.op)
		}
		b.do("close one of two", unix.SYS_CLOSE, a)
		b.do("still locked", unix.SYS_FLOCK, c, unix.LOCK_SH|unix.LOCK_NB)
		b.do("close the other", unix.SYS_CLOSE, d)
		b.do("free", unix.SYS_FLOCK, c, unix.LOCK_SH|unix.LOCK_NB)
		r, _ := b.pipe(0)
		b.do("pipe", unix.SYS_FLOCK, r, unix.LOCK_EX)
	})
}
