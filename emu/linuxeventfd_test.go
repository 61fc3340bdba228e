package emu

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLinuxEventfd(t *testing.T) {
	asLinux(t, func(b *box) {
		b.fd("flags", unix.SYS_EVENTFD2, 0, 2)
		b.fd("flags", unix.SYS_EVENTFD2, 0, 1<<31)
		old := b.fd("eventfd", unix.SYS_EVENTFD, 5)
		b.do("F_GETFL", unix.SYS_FCNTL, old, unix.F_GETFL)
		for _, flags := range []int{unix.EFD_NONBLOCK, unix.EFD_NONBLOCK | unix.EFD_SEMAPHORE} {
			fd := b.fd("eventfd2", unix.SYS_EVENTFD2, 3, flags|unix.EFD_CLOEXEC)
			b.do("F_GETFL", unix.SYS_FCNTL, fd, unix.F_GETFL)
			b.do("F_GETFD", unix.SYS_FCNTL, fd, unix.F_GETFD)
			q := b.queue()
			b.ctl("add", q, ctlAdd, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLET, 1)
			p := b.buf(16)
			poll := func() {
				pf := b.buf(8)
				binary.LittleEndian.PutUint32(pf, uint32(fd))
				pf[4] = 0xff
				b.do("poll", unix.SYS_POLL, pf, 1, 0)
				b.show("events", binary.LittleEndian.Uint16(pf[6:]))
				b.events("epoll", q, 2)
			}
			read := func(n int) {
				clear(p)
				b.do("read", unix.SYS_READ, fd, p, n)
				b.show("count", binary.LittleEndian.Uint64(p))
				poll()
			}
			write := func(v uint64) {
				b.do(fmt.Sprintf("write %#x", v), unix.SYS_WRITE, fd, b.words(v, 7), 8)
				poll()
			}
			poll()
			for _, n := range []int{0, 1, 7, 8, 16, 8, 8, 8} {
				read(n)
			}
			for _, v := range []uint64{0, 1, math.MaxUint64, math.MaxUint64 - 2, math.MaxUint64 - 1, 1, 0} {
				write(v)
			}
			read(8)
			write(math.MaxUint64 - 1)
			read(8)
			write(5)
			for _, n := range []int{0, 7, 9, 16} {
				b.do("write odd", unix.SYS_WRITE, fd, b.words(1, 1), n)
			}
			b.do("write wild", unix.SYS_WRITE, fd, wild{}, 8)
			b.do("read wild", unix.SYS_READ, fd, wild{}, 8)
			read(8)
			read(8)
			b.do("pread", unix.SYS_PREAD64, fd, p, 8, 0)
			b.do("pwrite", unix.SYS_PWRITE64, fd, p, 8, 0)
			b.do("fsync", unix.SYS_FSYNC, fd)
			b.do("ftruncate", unix.SYS_FTRUNCATE, fd, 0)
			b.do("ioctl", unix.SYS_IOCTL, fd, 0x541b, p)
			b.do("getdents", unix.SYS_GETDENTS64, fd, p, 16)
			b.do("flock", unix.SYS_FLOCK, fd, unix.LOCK_EX|unix.LOCK_NB)
			b.do("F_SETPIPE_SZ", unix.SYS_FCNTL, fd, unix.F_SETPIPE_SZ, 4096)
			b.do("lseek", unix.SYS_LSEEK, fd, 3, 0)
			b.do("not a dir", unix.SYS_OPENAT, fd, "x", unix.O_RDONLY)
			link := b.buf(64)
			b.do("readlink", unix.SYS_READLINKAT, at, fmt.Sprintf("/proc/self/fd/%d", fd), link, 64)
			b.show("link", string(link))
		}
	})
}
