package emu

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pinhole/abi"
)

func TestLinuxOpen(t *testing.T) {
	asLinux(t, func(b *box) {
		b.creat("file", "content")
		b.raw(unix.SYS_MKDIRAT, at, "dir", 0o755)
		b.raw(unix.SYS_SYMLINKAT, "file", at, "link")
		b.raw(unix.SYS_SYMLINKAT, "loop", at, "loop")
		b.raw(unix.SYS_SYMLINKAT, "none", at, "dangling")
		open := func(what string, args ...any) { b.fd("open "+what, unix.SYS_OPENAT, args...) }
		long := strings.Repeat("n", 256)
		longPath := strings.Repeat("./", 2048)
		for _, path := range []any{"file", "dir", "link", "loop", "dangling", "none", "", "file/", "dir/", "file/x",
			"none/x", "link/", long, longPath, longPath[1:], "dir/../file", "/", ".", "..", wild{}, 0} {
			for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, 3, unix.O_PATH, unix.O_PATH | unix.O_NOFOLLOW,
				unix.O_NOFOLLOW, unix.O_DIRECTORY, unix.O_DIRECTORY | unix.O_WRONLY, unix.O_TRUNC,
				unix.O_CREAT | unix.O_EXCL, unix.O_CREAT | unix.O_DIRECTORY, unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW,
				unix.O_TMPFILE, unix.O_EXCL, unix.O_RDONLY | 1<<30} {
				name := fmt.Sprintf("%.20v", path)
				if flags&unix.O_CREAT != 0 && (path == "none" || path == "dangling") {
					continue // they would be there afterwards
				}
				open(fmt.Sprintf("%s %#x", name, flags), at, path, flags, 0o644)
			}
		}
		for _, path := range []string{"none/", "dangling", "new", "new", "new/", "dir/new", "file/new", "dangling/new", "loop", "dir", ".", "/"} {
			open("create "+path, at, path, unix.O_CREAT|unix.O_WRONLY, 0o600)
		}
		dir := b.fd("dir", unix.SYS_OPENAT, at, "dir", unix.O_RDONLY|unix.O_DIRECTORY)
		file := b.fd("file", unix.SYS_OPENAT, at, "file", unix.O_RDONLY)
		path := b.fd("path", unix.SYS_OPENAT, at, "dir", unix.O_PATH)
		for _, fd := range []int{dir, file, path, -1, 12345} {
			open("new at", fd, "new", unix.O_RDONLY)
			open("absolute at", fd, "/", unix.O_RDONLY)
			open("empty at", fd, "", unix.O_RDONLY)
			open(".. at", fd, "..", unix.O_RDONLY)
			open("wild at", fd, wild{}, unix.O_RDONLY)
		}
		for _, flags := range []int{unix.O_RDONLY, unix.O_RDWR | unix.O_APPEND, unix.O_WRONLY | unix.O_NONBLOCK | unix.O_CLOEXEC,
			unix.O_RDWR | unix.O_TRUNC | unix.O_CREAT, unix.O_SYNC, unix.O_PATH, unix.O_NOFOLLOW, unix.O_NOCTTY | unix.O_NOATIME} {
			fd := b.fd("flags", unix.SYS_OPENAT, at, "file", flags, 0o644)
			b.do(fmt.Sprintf("F_GETFL of %#x", flags), unix.SYS_FCNTL, fd, unix.F_GETFL)
			b.do("F_GETFD", unix.SYS_FCNTL, fd, unix.F_GETFD)
		}
	})
}

func TestLinuxReadWrite(t *testing.T) {
	asLinux(t, func(b *box) {
		fd := b.creat("file", "0123456789")
		ro := b.fd("read-only", unix.SYS_OPENAT, at, "file", unix.O_RDONLY)
		wo := b.fd("write-only", unix.SYS_OPENAT, at, "file", unix.O_WRONLY)
		app := b.fd("append", unix.SYS_OPENAT, at, "file", unix.O_RDWR|unix.O_APPEND)
		path := b.fd("path", unix.SYS_OPENAT, at, "file", unix.O_PATH)
		dir := b.fd("dir", unix.SYS_OPENAT, at, ".", unix.O_RDONLY)
		none := b.fd("mode 3", unix.SYS_OPENAT, at, "file", 3)
		r, w := b.pipe(unix.O_NONBLOCK)
		edge, _ := b.mem.end(4)
		for _, f := range []struct {
			name string
			fd   int
		}{{"rw", fd}, {"ro", ro}, {"wo", wo}, {"append", app}, {"path", path}, {"dir", dir}, {"none", none},
			{"r", r}, {"w", w}, {"-1", -1}, {"far", 99999}} {
			p := b.buf(16)
			b.do("read "+f.name, unix.SYS_READ, f.fd, p, 4)
			b.show("got", string(p))
			b.do("read 0 "+f.name, unix.SYS_READ, f.fd, p, 0)
			b.do("read wild "+f.name, unix.SYS_READ, f.fd, wild{}, 4)
			b.do("read kernel "+f.name, unix.SYS_READ, f.fd, uint64(1)<<63, 4)
			b.do("read huge "+f.name, unix.SYS_READ, f.fd, p, uint64(1)<<63)
			b.do("pread "+f.name, unix.SYS_PREAD64, f.fd, p, 4, 7)
			b.show("got", string(p))
			b.do("pread behind "+f.name, unix.SYS_PREAD64, f.fd, p, 4, 100000)
			b.do("pread negative "+f.name, unix.SYS_PREAD64, f.fd, p, 4, -1)
			b.do("pread far "+f.name, unix.SYS_PREAD64, f.fd, p, 4, int64(1)<<62)
			b.do("pread overflow "+f.name, unix.SYS_PREAD64, f.fd, p, 4, int64(math.MaxInt64))
			b.do("pread edge "+f.name, unix.SYS_PREAD64, f.fd, edge, 8, 0)
			b.do("write "+f.name, unix.SYS_WRITE, f.fd, b.str("ab"), 2)
			b.do("write 0 "+f.name, unix.SYS_WRITE, f.fd, b.str("ab"), 0)
			b.do("write wild "+f.name, unix.SYS_WRITE, f.fd, wild{}, 4)
			b.do("pwrite "+f.name, unix.SYS_PWRITE64, f.fd, b.str("XY"), 2, 3)
			b.do("pwrite negative "+f.name, unix.SYS_PWRITE64, f.fd, p, 4, -1)
			b.do("pwrite overflow "+f.name, unix.SYS_PWRITE64, f.fd, p, 4, int64(math.MaxInt64))
			b.do("seek "+f.name, unix.SYS_LSEEK, f.fd, 0, unix.SEEK_CUR)
		}
		p := b.buf(64)
		n := b.do("content", unix.SYS_PREAD64, fd, p, 64, 0)
		b.show("content", string(p[:max(n, 0)]))
	})
}

func TestLinuxVector(t *testing.T) {
	asLinux(t, func(b *box) {
		fd := b.creat("file", "0123456789abcdef")
		r, w := b.pipe(unix.O_NONBLOCK)
		p, q := b.buf(4), b.buf(6)
		for _, c := range []struct {
			name  string
			iov   any
			count int
		}{
			{"two", b.iov(p, 4, q, 6), 2},
			{"empty", b.iov(p, 0, q, 0), 2},
			{"none", b.iov(), 0},
			{"holes", b.iov(p, 0, q, 3, p, 0), 3},
			{"second wild", b.iov(p, 4, wild{}, 4), 2},
			{"first wild", b.iov(wild{}, 4, p, 4), 2},
			{"wild and empty", b.iov(wild{}, 0, p, 4), 2},
			{"negative length", b.iov(p, -1), 1},
			{"sum", b.iov(p, 1<<62, q, 1<<62), 2},
			{"array wild", wild{}, 1},
			{"count negative", b.iov(p, 4), -1},
			{"count 1025", b.iov(p, 4), 1025},
			{"wild and count 1025", wild{}, 1025},
		} {
			for _, f := range []struct {
				name string
				fd   int
			}{{"file", fd}, {"r", r}, {"w", w}, {"-1", -1}} {
				name := c.name + " " + f.name
				if !strings.HasPrefix(c.name, "sum") {
					b.do("readv "+name, unix.SYS_READV, f.fd, c.iov, c.count)
					b.do("preadv "+name, unix.SYS_PREADV, f.fd, c.iov, c.count, 2, 0)
					b.do("preadv2 "+name, unix.SYS_PREADV2, f.fd, c.iov, c.count, -1, -1, 0)
					b.do("preadv2 flags "+name, unix.SYS_PREADV2, f.fd, c.iov, c.count, 0, 0, 1<<20)
					b.show("bytes", string(p)+"|"+string(q))
					b.do("writev "+name, unix.SYS_WRITEV, f.fd, c.iov, c.count)
					b.do("pwritev "+name, unix.SYS_PWRITEV, f.fd, c.iov, c.count, 3, 0)
				}
				b.do("preadv negative "+name, unix.SYS_PREADV, f.fd, c.iov, c.count, -1, 0)
				b.do("pwritev2 negative "+name, unix.SYS_PWRITEV2, f.fd, c.iov, c.count, -2, -1, 0)
			}
		}
		b.do("pwritev2 append", unix.SYS_PWRITEV2, fd, b.iov(p, 4), 1, 0, 0, 0x10)
		b.do("end", unix.SYS_LSEEK, fd, 0, unix.SEEK_END)
	})
}

func TestLinuxSeek(t *testing.T) {
	asLinux(t, func(b *box) {
		fd := b.creat("file", strings.Repeat("x", 10000))
		dir := b.fd("dir", unix.SYS_OPENAT, at, ".", unix.O_RDONLY)
		path := b.fd("path", unix.SYS_OPENAT, at, "file", unix.O_PATH)
		r, _ := b.pipe(0)
		const far = int64(math.MaxInt64)
		for _, whence := range []int{0, 1, 2, 3, 4, 5, -1} {
			for _, off := range []int64{0, 1, -1, 9999, 10000, 10001, -10000, -10001, far, -far} {
				if off == far && whence < 2 {
					continue // file systems differ in how large a file may be
				}
				b.do(fmt.Sprintf("seek %d by %d", off, whence), unix.SYS_LSEEK, fd, off, whence)
			}
			b.do("pipe", unix.SYS_LSEEK, r, 0, whence)
			b.do("path", unix.SYS_LSEEK, path, 0, whence)
			b.do("closed", unix.SYS_LSEEK, 12345, 0, whence)
		}
		b.do("dir", unix.SYS_LSEEK, dir, 0, 0)
		b.do("dir negative", unix.SYS_LSEEK, dir, -1, 0)
	})
}

func TestLinuxDup(t *testing.T) {
	asLinux(t, func(b *box) {
		fd := b.creat("file", "0123456789")
		path := b.fd("path", unix.SYS_OPENAT, at, "file", unix.O_PATH)
		d := b.fd("dup", unix.SYS_DUP, fd)
		b.fd("dup path", unix.SYS_DUP, path)
		b.do("dup closed", unix.SYS_DUP, 777)
		b.do("dup -1", unix.SYS_DUP, -1)
		b.do("dup2", unix.SYS_DUP2, fd, 500)
		b.do("dup2 same", unix.SYS_DUP2, fd, 500)
		b.do("dup2 closed same", unix.SYS_DUP2, 777, 777)
		b.do("dup2 closed", unix.SYS_DUP2, 777, 501)
		b.do("dup2 negative", unix.SYS_DUP2, fd, -1)
		b.do("dup2 far", unix.SYS_DUP2, fd, 1<<30)
		b.do("dup3", unix.SYS_DUP3, fd, 501, unix.O_CLOEXEC)
		b.do("dup3 flags", unix.SYS_DUP3, fd, 501, unix.O_CLOEXEC|1)
		b.do("dup3 same", unix.SYS_DUP3, fd, fd, 0)
		b.do("dup3 closed same", unix.SYS_DUP3, 777, 777, 0)
		b.do("dup3 far", unix.SYS_DUP3, fd, 1<<30, 0)
		for _, f := range []int{fd, d, 500, 501, 502, path, 777} {
			b.do("F_GETFD", unix.SYS_FCNTL, f, unix.F_GETFD)
		}
		b.do("seek shared", unix.SYS_LSEEK, d, 3, 0)
		b.do("seek shared", unix.SYS_LSEEK, 500, 0, 1)
		b.do("F_DUPFD", unix.SYS_FCNTL, fd, unix.F_DUPFD, 500)
		b.do("F_DUPFD_CLOEXEC", unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, 500)
		b.do("F_GETFD", unix.SYS_FCNTL, 503, unix.F_GETFD)
		b.do("F_DUPFD far", unix.SYS_FCNTL, fd, unix.F_DUPFD, 1<<30)
		b.do("F_DUPFD negative", unix.SYS_FCNTL, fd, unix.F_DUPFD, -1)
		b.do("F_DUPFD closed", unix.SYS_FCNTL, 777, unix.F_DUPFD, -1)
		b.do("F_SETFD", unix.SYS_FCNTL, 500, unix.F_SETFD, 1)
		b.do("F_GETFD", unix.SYS_FCNTL, 500, unix.F_GETFD)
		b.do("F_SETFD path", unix.SYS_FCNTL, path, unix.F_SETFD, 0)
		b.do("F_SETFL path", unix.SYS_FCNTL, path, unix.F_SETFL, 0)
		b.do("unknown", unix.SYS_FCNTL, fd, 9999, 0)
		b.do("unknown closed", unix.SYS_FCNTL, 777, 9999, 0)
		b.do("unknown path", unix.SYS_FCNTL, path, 9999, 0)
		b.do("F_SETFL", unix.SYS_FCNTL, fd, unix.F_SETFL, unix.O_APPEND|unix.O_NONBLOCK|unix.O_WRONLY|unix.O_CREAT)
		b.do("F_GETFL shared", unix.SYS_FCNTL, d, unix.F_GETFL)
		b.do("F_SETFL", unix.SYS_FCNTL, fd, unix.F_SETFL, 0)
		b.do("F_GETFL", unix.SYS_FCNTL, d, unix.F_GETFL)
		b.do("FIONBIO", unix.SYS_IOCTL, fd, 0x5421, b.words(1))
		b.do("F_GETFL", unix.SYS_FCNTL, d, unix.F_GETFL)
		b.do("FIONBIO wild", unix.SYS_IOCTL, fd, 0x5421, wild{})
		b.do("FIOCLEX", unix.SYS_IOCTL, 503, 0x5451)
		b.do("F_GETFD", unix.SYS_FCNTL, 503, unix.F_GETFD)
		b.do("TCGETS", unix.SYS_IOCTL, fd, unix.TCGETS, wild{})
		b.do("TIOCGWINSZ path", unix.SYS_IOCTL, path, unix.TIOCGWINSZ, wild{})
		b.do("FIONREAD wild", unix.SYS_IOCTL, fd, 0x541b, wild{})
		left := b.buf(4)
		b.do("FIONREAD", unix.SYS_IOCTL, fd, 0x541b, left)
		b.show("left", left)
		for fd := 500; fd < 505; fd++ {
			b.do("close", unix.SYS_CLOSE, fd)
			b.do("close again", unix.SYS_CLOSE, fd)
		}
		b.do("close -1", unix.SYS_CLOSE, -1)
		for i := range 5 {
			b.raw(unix.SYS_DUP2, fd, 600+i)
		}
		b.do("close_range flags", unix.SYS_CLOSE_RANGE, 600, 601, 1)
		b.do("close_range reversed", unix.SYS_CLOSE_RANGE, 601, 600, 0)
		b.do("close_range", unix.SYS_CLOSE_RANGE, 600, 601, 0)
		b.do("close_range cloexec", unix.SYS_CLOSE_RANGE, 602, 603, 4)
		for i := range 5 {
			b.do("F_GETFD", unix.SYS_FCNTL, 600+i, unix.F_GETFD)
		}
		b.do("close_range far", unix.SYS_CLOSE_RANGE, 602, 0xffffffff, 0)
	})
}

// names lists a directory by getdents64 with a buffer of n bytes, and checks the records.
func names(b *box, fd, n int) []string {
	var list []string
	for {
		p := b.buf(n)
		got := b.raw(unix.SYS_GETDENTS64, fd, p, n)
		if got <= 0 {
			if got < 0 {
				list = append(list, result(got))
			}
			slices.Sort(list)
			return list
		}
		for p = p[:got]; len(p) > 0; {
			var d abi.Dirent
			m := d.Decode(p)
			if m == 0 || m%8 != 0 || m != abi.DirentLen(len(d.Name)) {
				b.t.Fatalf("bad record of %d bytes", m)
			}
			list = append(list, fmt.Sprintf("%s type %d", d.Name, d.Type))
			p = p[m:]
		}
	}
}

func TestLinuxDirectory(t *testing.T) {
	asLinux(t, func(b *box) {
		file := b.creat("file", "x")
		b.raw(unix.SYS_SYMLINKAT, "file", at, "link")
		b.raw(unix.SYS_MKDIRAT, at, "dir", 0o755)
		b.raw(unix.SYS_MKNODAT, at, "fifo", unix.S_IFIFO|0o644, 0)
		for i := range 40 {
			b.raw(unix.SYS_MKDIRAT, at, fmt.Sprintf("a-name-of-some-length-%d", i), 0o755)
		}
		dir := b.fd("open", unix.SYS_OPENAT, at, ".", unix.O_RDONLY)
		for _, n := range []int{280, 1000, 32768} {
			b.do("rewind", unix.SYS_LSEEK, dir, 0, 0)
			b.show(fmt.Sprint("names by ", n), names(b, dir, n))
			b.do("at the end", unix.SYS_GETDENTS64, dir, b.buf(300), 300)
		}
		b.do("rewind", unix.SYS_LSEEK, dir, 0, 0)
		b.do("too small", unix.SYS_GETDENTS64, dir, b.buf(300), 10)
		b.do("nothing", unix.SYS_GETDENTS64, dir, b.buf(300), 0)
		b.do("wild", unix.SYS_GETDENTS64, dir, wild{}, 300)
		b.do("file", unix.SYS_GETDENTS64, file, b.buf(300), 300)
		b.do("closed", unix.SYS_GETDENTS64, 777, b.buf(300), 300)
		path := b.fd("open", unix.SYS_OPENAT, at, "dir", unix.O_PATH)
		b.do("path", unix.SYS_GETDENTS64, path, b.buf(300), 300)

		// Seek to each entry, and find it again.
		b.raw(unix.SYS_LSEEK, dir, 0, 0)
		p := b.buf(32768)
		got := b.raw(unix.SYS_GETDENTS64, dir, p, len(p))
		var entries []abi.Dirent
		for p = p[:max(got, 0)]; len(p) > 0; {
			var d abi.Dirent
			p = p[d.Decode(p):]
			entries = append(entries, d)
		}
		for i := 1; i < len(entries); i += 7 {
			b.raw(unix.SYS_LSEEK, dir, entries[i-1].Next, 0)
			q := b.buf(300)
			b.raw(unix.SYS_GETDENTS64, dir, q, 300)
			var d abi.Dirent
			d.Decode(q)
			b.show("found again", string(d.Name) == string(entries[i].Name))
		}

		sub := b.fd("open", unix.SYS_OPENAT, at, "dir", unix.O_RDONLY)
		b.do("rmdir", unix.SYS_UNLINKAT, at, "dir", unix.AT_REMOVEDIR)
		b.do("removed", unix.SYS_GETDENTS64, sub, b.buf(300), 300)
		b.fd("open in removed", unix.SYS_OPENAT, sub, "x", unix.O_CREAT|unix.O_RDWR, 0o644)
		b.do("mkdir in removed", unix.SYS_MKDIRAT, sub, "x", 0o755)
	})
}
