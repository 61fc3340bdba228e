package emu

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLinuxDevice(t *testing.T) {
	asLinux(t, func(b *box) {
		p := b.buf(64)
		for _, name := range []string{"null", "zero", "full", "urandom"} {
			fd := b.fd("open "+name, unix.SYS_OPENAT, at, "/dev/"+name, unix.O_RDWR)
			st := b.buf(256)
			b.do("fstat", unix.SYS_FSTAT, fd, st)
			b.show("rdev", binary.LittleEndian.Uint64(st[40:]))
			b.do("read", unix.SYS_READ, fd, p, 32)
			if name != "urandom" {
				b.show("content", p[:32])
			}
			b.do("read nothing", unix.SYS_READ, fd, p, 0)
			b.do("read wild", unix.SYS_READ, fd, wild{}, 32)
			b.do("pread", unix.SYS_PREAD64, fd, p, 32, 1000)
			if name != "urandom" {
				b.do("write", unix.SYS_WRITE, fd, p, 32)
				b.do("write wild", unix.SYS_WRITE, fd, wild{}, 32)
				b.do("pwrite", unix.SYS_PWRITE64, fd, p, 32, 7)
				for whence := range 3 {
					b.do(fmt.Sprint("seek ", whence), unix.SYS_LSEEK, fd, 100, whence)
				}
			}
			b.do("truncate", unix.SYS_FTRUNCATE, fd, 0)
			b.do("fsync", unix.SYS_FSYNC, fd)
			b.do("fallocate", unix.SYS_FALLOCATE, fd, 0, 0, 1)
			b.do("getdents", unix.SYS_GETDENTS64, fd, p, 64)
			b.do("TCGETS", unix.SYS_IOCTL, fd, unix.TCGETS, p)
			b.do("F_GETFL", unix.SYS_FCNTL, fd, unix.F_GETFL)
			q := b.buf(8)
			binary.LittleEndian.PutUint32(q, uint32(fd))
			q[4] = 0xff
			b.do("poll", unix.SYS_POLL, q, 1, 0)
			b.show("events", binary.LittleEndian.Uint16(q[6:]))
			b.fd("directory", unix.SYS_OPENAT, at, "/dev/"+name, unix.O_DIRECTORY)
			b.fd("truncating", unix.SYS_OPENAT, at, "/dev/"+name, unix.O_RDWR|unix.O_TRUNC)
			b.fd("creating", unix.SYS_OPENAT, at, "/dev/"+name, unix.O_RDWR|unix.O_CREAT, 0o644)
		}
		b.fd("none", unix.SYS_OPENAT, at, "/dev/none-of-that-name", unix.O_RDWR)
		if b.do("mknod", unix.SYS_MKNODAT, at, "device", unix.S_IFCHR|0o666, unix.Mkdev(200, 77)) == 0 {
			b.fd("no driver", unix.SYS_OPENAT, at, "device", unix.O_RDWR)
			b.fd("no driver, path", unix.SYS_OPENAT, at, "device", unix.O_PATH)
		}
		b.do("mknod", unix.SYS_MKNODAT, at, "socket", unix.S_IFSOCK|0o666, 0)
		b.fd("socket", unix.SYS_OPENAT, at, "socket", unix.O_RDWR)
	})
}

// TestLinuxDescriptorLinks opens files again by way of /proc/self/fd.
func TestLinuxDescriptorLinks(t *testing.T) {
	asLinux(t, func(b *box) {
		fd := b.creat("file", "0123456789")
		b.raw(unix.SYS_DUP2, fd, 800)
		b.open = append(b.open, 800)
		b.raw(unix.SYS_LSEEK, fd, 5, 0)
		p := b.buf(64)
		again := b.fd("again", unix.SYS_OPENAT, at, "/proc/self/fd/800", unix.O_RDONLY)
		b.do("offset of its own", unix.SYS_LSEEK, again, 0, 1)
		b.fd("not followed", unix.SYS_OPENAT, at, "/proc/self/fd/800", unix.O_RDONLY|unix.O_NOFOLLOW)
		b.fd("by /dev/fd", unix.SYS_OPENAT, at, "/dev/fd/800", unix.O_RDONLY)
		b.fd("none", unix.SYS_OPENAT, at, "/proc/self/fd/801", unix.O_RDONLY)
		b.fd("as a directory", unix.SYS_OPENAT, at, "/proc/self/fd/800/x", unix.O_RDONLY)
		b.do("unlink", unix.SYS_UNLINKAT, at, "file", 0)
		again = b.fd("removed", unix.SYS_OPENAT, at, "/proc/self/fd/800", unix.O_RDWR)
		b.do("content", unix.SYS_READ, again, p, 64)
		b.do("stat", unix.SYS_NEWFSTATAT, at, "/proc/self/fd/800", p, unix.AT_SYMLINK_NOFOLLOW|1<<30)
		link := b.buf(4096)
		n := b.raw(unix.SYS_READLINKAT, at, "/proc/self/fd/800", link, 4096)
		b.show("link ends in", string(link[max(n-15, 0):max(n, 0)]))
		b.do("link back", unix.SYS_LINKAT, at, "/proc/self/fd/800", at, "back", unix.AT_SYMLINK_FOLLOW)

		r, w := b.pipe(unix.O_NONBLOCK)
		b.raw(unix.SYS_DUP2, w, 802)
		b.open = append(b.open, 802)
		w2 := b.fd("pipe", unix.SYS_OPENAT, at, "/proc/self/fd/802", unix.O_WRONLY|unix.O_NONBLOCK)
		b.do("write", unix.SYS_WRITE, w2, b.str("x"), 1)
		r2 := b.fd("other end", unix.SYS_OPENAT, at, "/proc/self/fd/802", unix.O_RDONLY|unix.O_NONBLOCK)
		b.do("read", unix.SYS_READ, r2, p, 10)
		for _, f := range []int{w, w2, 802} {
			b.do("close", unix.SYS_CLOSE, f)
		}
		b.do("end", unix.SYS_READ, r, p, 10)
		b.do("mkdir", unix.SYS_MKDIRAT, at, "/proc/x", 0o755)
		b.do("rmdir", unix.SYS_UNLINKAT, at, "/proc/self", unix.AT_REMOVEDIR)
		b.fd("creat", unix.SYS_OPENAT, at, "/proc/new", unix.O_CREAT|unix.O_RDWR, 0o644)
		b.fd("write stat", unix.SYS_OPENAT, at, "/proc/self/fd", unix.O_RDWR)
		exe := b.fd("exe", unix.SYS_OPENAT, at, "/proc/self/cwd", unix.O_RDONLY)
		b.do("cwd", unix.SYS_GETDENTS64, exe, b.buf(300), 10)
	})
}
