package emu

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pinhole/abi"
)

// showStat logs what does not depend on the file system.
func showStat(b *box, what string, p []byte) {
	var s abi.Stat
	s.Decode(p)
	if s.Mode&unix.S_IFMT == unix.S_IFDIR {
		s.Size = 0
	}
	b.show(what, fmt.Sprintf("mode %o size %d uid %d gid %d", s.Mode, s.Size, s.UID, s.GID))
}

// tree makes what the scripts look at.
func tree(b *box) {
	b.raw(unix.SYS_UMASK, 0o022)
	b.creat("file", "content")
	b.raw(unix.SYS_MKDIRAT, at, "dir", 0o755)
	b.raw(unix.SYS_MKDIRAT, at, "dir/sub", 0o755)
	b.creat("dir/inner", "i")
	b.raw(unix.SYS_SYMLINKAT, "file", at, "link")
	b.raw(unix.SYS_SYMLINKAT, "dir", at, "dirlink")
	b.raw(unix.SYS_SYMLINKAT, "loop", at, "loop")
	b.raw(unix.SYS_SYMLINKAT, "none", at, "dangling")
	b.raw(unix.SYS_MKNODAT, at, "fifo", unix.S_IFIFO|0o644, 0)
}

var paths = []any{"file", "dir", "link", "dirlink", "loop", "dangling", "none", "", "file/", "dir/", "dirlink/", "file/x",
	"none/x", "link/", "fifo", "fifo/", ".", "..", "/", "dir/.", "dir/..", "dir/inner", "dirlink/inner", "loop/x",
	strings.Repeat("n", 255), strings.Repeat("n", 256), strings.Repeat("./", 2047), strings.Repeat("./", 2048), wild{}}

func TestLinuxStat(t *testing.T) {
	asLinux(t, func(b *box) {
		tree(b)
		dir := b.fd("dir", unix.SYS_OPENAT, at, "dir", unix.O_RDONLY)
		path := b.fd("path", unix.SYS_OPENAT, at, "link", unix.O_PATH|unix.O_NOFOLLOW)
		r, _ := b.pipe(0)
		buf := b.buf(256)
		for _, p := range paths {
			for _, flags := range []int{0, unix.AT_SYMLINK_NOFOLLOW, unix.AT_EMPTY_PATH, unix.AT_NO_AUTOMOUNT, unix.AT_SYMLINK_FOLLOW, 1, 1 << 20} {
				what := fmt.Sprintf("stat %.20v %#x", p, flags)
				if b.do(what, unix.SYS_NEWFSTATAT, at, p, buf, flags) == 0 && p != ".." && p != "/" {
					showStat(b, what, buf)
				}
				b.do("statx "+what, unix.SYS_STATX, at, p, flags, 0xfff, buf)
			}
			b.do("stat into the wild", unix.SYS_NEWFSTATAT, at, p, wild{}, 0)
			for _, mode := range []int{0, 1, 2, 4, 7, 8, -1} {
				b.do(fmt.Sprintf("access %.20v %d", p, mode), unix.SYS_FACCESSAT2, at, p, mode, 0)
			}
			b.do(fmt.Sprintf("access flags %.20v", p), unix.SYS_FACCESSAT2, at, p, 0, 0x1000)
			b.do(fmt.Sprintf("access flags %.20v", p), unix.SYS_FACCESSAT2, at, p, 0, 0x200|0x100)
			b.do(fmt.Sprintf("access flags %.20v", p), unix.SYS_FACCESSAT2, at, p, 0, 1)
			link := b.buf(16)
			b.do(fmt.Sprintf("readlink %.20v", p), unix.SYS_READLINKAT, at, p, link, 16)
			b.show("to", string(link))
			b.do(fmt.Sprintf("readlink short %.20v", p), unix.SYS_READLINKAT, at, p, link, 2)
			b.do(fmt.Sprintf("readlink nothing %.20v", p), unix.SYS_READLINKAT, at, p, link, 0)
			b.do(fmt.Sprintf("readlink wild %.20v", p), unix.SYS_READLINKAT, at, p, wild{}, 16)
			b.do(fmt.Sprintf("statfs wild %.20v", p), unix.SYS_STATFS, p, wild{})
			b.do(fmt.Sprintf("truncate negative %.20v", p), unix.SYS_TRUNCATE, p, -1)
			for _, fd := range []int{dir, path, r, -1, 777} {
				b.do(fmt.Sprintf("stat at %.20v", p), unix.SYS_NEWFSTATAT, fd, p, buf, 0)
				b.do(fmt.Sprintf("stat empty at %.20v", p), unix.SYS_NEWFSTATAT, fd, p, buf, unix.AT_EMPTY_PATH)
				b.do(fmt.Sprintf("readlink at %.20v", p), unix.SYS_READLINKAT, fd, p, link, 16)
				b.do(fmt.Sprintf("access at %.20v", p), unix.SYS_FACCESSAT2, fd, p, 4, 0)
			}
		}
		b.do("statx mask", unix.SYS_STATX, at, "file", 0, 1<<31, buf)
		b.do("statx sync", unix.SYS_STATX, at, "file", 0x6000, 1, buf)
		b.do("statx sync", unix.SYS_STATX, at, "file", 0x2000, 1, buf)
		b.do("statx null", unix.SYS_STATX, dir, 0, unix.AT_EMPTY_PATH, 1, buf)
		b.do("fstatat null", unix.SYS_NEWFSTATAT, dir, 0, buf, unix.AT_EMPTY_PATH)
		for _, fd := range []int{dir, path, r, -1, 777} {
			b.do("fstat wild", unix.SYS_FSTAT, fd, wild{})
			if b.do("fstat", unix.SYS_FSTAT, fd, buf) == 0 {
				showStat(b, "fstat", buf)
			}
			b.do("fstatfs", unix.SYS_FSTATFS, fd, buf)
			b.do("fchdir", unix.SYS_FCHDIR, path)
		}
	})
}

func TestLinuxNames(t *testing.T) {
	asLinux(t, func(b *box) {
		for _, p := range paths {
			tree(b)
			name := fmt.Sprintf("%.20v", p)
			b.do("mkdir "+name, unix.SYS_MKDIRAT, at, p, 0o777)
			b.do("rmdir "+name, unix.SYS_UNLINKAT, at, p, unix.AT_REMOVEDIR)
			tree(b)
			b.do("unlink "+name, unix.SYS_UNLINKAT, at, p, 0)
			b.do("unlink flags "+name, unix.SYS_UNLINKAT, at, p, 1)
			tree(b)
			b.do("mknod "+name, unix.SYS_MKNODAT, at, p, unix.S_IFIFO|0o644, 0)
			b.do("mknod file "+name, unix.SYS_MKNODAT, at, p, 0o644, 0)
			b.do("mknod dir "+name, unix.SYS_MKNODAT, at, p, unix.S_IFDIR|0o644, 0)
			b.do("mknod link "+name, unix.SYS_MKNODAT, at, p, unix.S_IFLNK|0o644, 0)
			b.raw(unix.SYS_UNLINKAT, at, "none", 0)
			b.do("symlink "+name, unix.SYS_SYMLINKAT, "x", at, p)
			b.do("symlink to "+name, unix.SYS_SYMLINKAT, p, at, "none")
			b.raw(unix.SYS_UNLINKAT, at, "none", 0)
			tree(b)
			for _, q := range []any{"none", "file", "dir", "dir/sub", "link", "dir/sub/x", "", ".", "dir/", "none/", wild{}} {
				to := fmt.Sprintf("%s to %.20v", name, q)
				b.do("link "+to, unix.SYS_LINKAT, at, p, at, q, 0)
				b.raw(unix.SYS_UNLINKAT, at, "none", 0)
				b.do("link follow "+to, unix.SYS_LINKAT, at, p, at, q, unix.AT_SYMLINK_FOLLOW)
				b.raw(unix.SYS_UNLINKAT, at, "none", 0)
				b.do("link flags "+to, unix.SYS_LINKAT, at, p, at, q, 1)
				for _, flags := range []int{0, 1, 2, 3, 4, 8, 6} {
					if flags == 4 {
						continue // file systems differ in RENAME_WHITEOUT
					}
					if r := b.do(fmt.Sprintf("rename %#x %s", flags, to), unix.SYS_RENAMEAT2, at, p, at, q, flags); r == 0 {
						b.raw(unix.SYS_RENAMEAT2, at, q, at, p, flags) // roughly back
						clean(b)
						tree(b)
					}
				}
			}
			clean(b)
		}
	})
}

// clean removes what tree and the renames have made.
func clean(b *box) {
	for _, p := range []string{"dir/inner", "dir/sub/x", "dir/sub/inner", "sub/inner", "none/inner", "file/inner", "link/inner"} {
		b.raw(unix.SYS_UNLINKAT, at, p, 0)
	}
	for range 2 {
		for _, p := range []string{"dir/sub", "dir", "none/sub", "none", "file", "link", "dirlink", "loop", "dangling", "fifo",
			"dir/none", "dir/sub/sub", "file/sub", "link/sub", "sub", strings.Repeat("n", 255)} {
			b.raw(unix.SYS_UNLINKAT, at, p, 0)
			b.raw(unix.SYS_UNLINKAT, at, p, unix.AT_REMOVEDIR)
		}
	}
	for _, fd := range b.open {
		b.raw(unix.SYS_CLOSE, fd)
	}
	b.open = nil
}

func TestLinuxAttributes(t *testing.T) {
	asLinux(t, func(b *box) {
		tree(b)
		fd := b.fd("file", unix.SYS_OPENAT, at, "file", unix.O_RDWR)
		ro := b.fd("read-only", unix.SYS_OPENAT, at, "file", unix.O_RDONLY)
		dir := b.fd("dir", unix.SYS_OPENAT, at, "dir", unix.O_RDONLY)
		path := b.fd("path", unix.SYS_OPENAT, at, "file", unix.O_PATH)
		r, w := b.pipe(0)
		buf := b.buf(256)
		for _, p := range paths {
			name := fmt.Sprintf("%.20v", p)
			if p == ".." || p == "/" {
				continue
			}
			b.do("chmod "+name, unix.SYS_FCHMODAT, at, p, 0o104711)
			b.do("fchmodat2 "+name, 452, at, p, 0o640, unix.AT_SYMLINK_NOFOLLOW)
			b.do("fchmodat2 flags "+name, 452, at, p, 0o640, 1)
			b.do("chown "+name, unix.SYS_FCHOWNAT, at, p, -1, -1, 0)
			b.do("chown flags "+name, unix.SYS_FCHOWNAT, at, p, -1, -1, 1)
			b.do("lchown "+name, unix.SYS_FCHOWNAT, at, p, -1, -1, unix.AT_SYMLINK_NOFOLLOW)
			for _, times := range []any{0, b.words(1, 2, 3, 4), b.words(1, 1000000000, 3, 4), b.words(1, unix.UTIME_OMIT, 3, unix.UTIME_OMIT),
				b.words(1, unix.UTIME_NOW, 3, unix.UTIME_OMIT), wild{}, b.words(1, unix.UTIME_OMIT, 3, 1<<40)} {
				b.do("utimensat "+name, unix.SYS_UTIMENSAT, at, p, times, 0)
				b.do("utimensat nofollow "+name, unix.SYS_UTIMENSAT, at, p, times, unix.AT_SYMLINK_NOFOLLOW)
				b.do("utimensat flags "+name, unix.SYS_UTIMENSAT, at, p, times, 1)
			}
			b.do("truncate "+name, unix.SYS_TRUNCATE, p, 5)
			b.raw(unix.SYS_NEWFSTATAT, at, p, buf, unix.AT_SYMLINK_NOFOLLOW)
			showStat(b, name, buf)
		}
		for _, f := range []struct {
			name string
			fd   int
		}{{"fd", fd}, {"ro", ro}, {"dir", dir}, {"path", path}, {"r", r}, {"w", w}, {"-1", -1}, {"777", 777}} {
			b.do("fchmod "+f.name, unix.SYS_FCHMOD, f.fd, 0o600)
			b.do("fchown "+f.name, unix.SYS_FCHOWN, f.fd, -1, -1)
			b.do("futimens "+f.name, unix.SYS_UTIMENSAT, f.fd, 0, 0, 0)
			b.do("futimens flags "+f.name, unix.SYS_UTIMENSAT, f.fd, 0, 0, unix.AT_SYMLINK_NOFOLLOW)
			b.do("futimens omit "+f.name, unix.SYS_UTIMENSAT, f.fd, 0, b.words(0, unix.UTIME_OMIT, 0, unix.UTIME_OMIT), 77)
			for _, n := range []int64{0, 10, -1} {
				b.do("ftruncate "+f.name, unix.SYS_FTRUNCATE, f.fd, n)
			}
			b.do("fsync "+f.name, unix.SYS_FSYNC, f.fd)
			b.do("fdatasync "+f.name, unix.SYS_FDATASYNC, f.fd)
			b.do("syncfs "+f.name, unix.SYS_SYNCFS, f.fd)
			b.do("sync_file_range "+f.name, unix.SYS_SYNC_FILE_RANGE, f.fd, 0, 0, 2)
			b.do("sync_file_range flags "+f.name, unix.SYS_SYNC_FILE_RANGE, f.fd, 0, 0, 8)
			b.do("sync_file_range negative "+f.name, unix.SYS_SYNC_FILE_RANGE, f.fd, -1, 0, 2)
			b.do("fadvise "+f.name, unix.SYS_FADVISE64, f.fd, 0, 0, 3)
			b.do("fadvise unknown "+f.name, unix.SYS_FADVISE64, f.fd, 0, 0, 9)
			b.do("fadvise negative "+f.name, unix.SYS_FADVISE64, f.fd, 0, -1, 0)
			for _, mode := range []int{0, 1, 2, 3, 0x40, 0x80, 9, 0x11, -1} {
				for _, r := range [][2]int64{{0, 0}, {-1, 1}, {0, -1}, {1 << 62, 1 << 62}} {
					if (mode == 9 || mode == 0x40 || mode == 0x80) && r[0] == 1<<62 {
						continue // not every file system knows the mode
					}
					b.do(fmt.Sprintf("fallocate %#x %v %s", mode, r, f.name), unix.SYS_FALLOCATE, f.fd, mode, r[0], r[1])
				}
			}
			b.do("fstat "+f.name, unix.SYS_FSTAT, f.fd, buf)
			showStat(b, f.name, buf)
		}
		b.do("utimensat no path", unix.SYS_UTIMENSAT, at, 0, 0, 0)
		b.do("fallocate", unix.SYS_FALLOCATE, fd, 0, 0, 8192)
		b.do("punch", unix.SYS_FALLOCATE, fd, 3, 0, 4096)
		b.do("keep size", unix.SYS_FALLOCATE, fd, 1, 0, 100000)
		b.do("size", unix.SYS_LSEEK, fd, 0, 2)
	})
}

func TestLinuxWorkingDirectory(t *testing.T) {
	asLinux(t, func(b *box) {
		tree(b)
		back := b.fd("back", unix.SYS_OPENAT, at, ".", unix.O_RDONLY)
		for _, p := range paths {
			b.do(fmt.Sprintf("chdir %.20v", p), unix.SYS_CHDIR, p)
			b.do("fchdir", unix.SYS_FCHDIR, back)
		}
		b.do("chdir", unix.SYS_CHDIR, "dirlink/sub")
		buf := b.buf(4096)
		n := b.raw(unix.SYS_GETCWD, buf, 4096)
		b.show("getcwd ends in", string(buf[max(n-9, 0):max(n, 0)]))
		b.do("getcwd 0", unix.SYS_GETCWD, buf, 0)
		b.do("getcwd short", unix.SYS_GETCWD, buf, 5)
		b.do("getcwd wild", unix.SYS_GETCWD, wild{}, 4096)
		b.do("getcwd wild short", unix.SYS_GETCWD, wild{}, 1)
		b.do("up", unix.SYS_CHDIR, "../..")
		b.do("file is here", unix.SYS_FACCESSAT2, at, "file", 0, 0)
		b.do("chdir", unix.SYS_CHDIR, "dir/sub")
		b.do("rmdir", unix.SYS_UNLINKAT, at, "../sub", unix.AT_REMOVEDIR)
		b.do("getcwd removed", unix.SYS_GETCWD, buf, 4096)
		b.do("stat .", unix.SYS_NEWFSTATAT, at, ".", buf, 0)
		b.do("stat ..", unix.SYS_NEWFSTATAT, at, "..", buf, 0)
		b.do("stat x", unix.SYS_NEWFSTATAT, at, "x", buf, 0)
		b.do("mkdir", unix.SYS_MKDIRAT, at, "x", 0o755)
		b.do("fchdir", unix.SYS_FCHDIR, back)
		b.do("fchdir closed", unix.SYS_FCHDIR, 777)
		file := b.fd("file", unix.SYS_OPENAT, at, "file", unix.O_RDONLY)
		b.do("fchdir file", unix.SYS_FCHDIR, file)
		path := b.fd("path", unix.SYS_OPENAT, at, "dir", unix.O_PATH)
		b.do("fchdir path", unix.SYS_FCHDIR, path)
		b.do("fchdir back", unix.SYS_FCHDIR, back)
		b.do("umask", unix.SYS_UMASK, 0o77777)
		b.do("umask", unix.SYS_UMASK, 0o027)
		b.do("umask", unix.SYS_UMASK, 0o022)
	})
}

func TestLinuxCopy(t *testing.T) {
	asLinux(t, func(b *box) {
		in := b.creat("in", strings.Repeat("0123456789", 20000))
		out := b.creat("out", "")
		ro := b.fd("ro", unix.SYS_OPENAT, at, "in", unix.O_RDONLY)
		wo := b.fd("wo", unix.SYS_OPENAT, at, "out", unix.O_WRONLY)
		app := b.fd("app", unix.SYS_OPENAT, at, "out", unix.O_WRONLY|unix.O_APPEND)
		dir := b.fd("dir", unix.SYS_OPENAT, at, ".", unix.O_RDONLY)
		r, w := b.pipe(unix.O_NONBLOCK)
		files := []struct {
			name string
			fd   int
		}{{"in", in}, {"out", out}, {"ro", ro}, {"wo", wo}, {"app", app}, {"dir", dir}, {"r", r}, {"w", w}, {"777", 777}}
		off := func(v int64) []byte { return b.words(uint64(v)) }
		for _, f := range files {
			for _, g := range files {
				name := f.name + " to " + g.name
				o1, o2 := off(100), off(5)
				b.do("copy "+name, unix.SYS_COPY_FILE_RANGE, f.fd, o1, g.fd, o2, 10, 0)
				b.show("offsets", fmt.Sprint(binary.LittleEndian.Uint64(o1), binary.LittleEndian.Uint64(o2)))
				b.do("copy own offsets "+name, unix.SYS_COPY_FILE_RANGE, f.fd, 0, g.fd, 0, 10, 0)
				b.do("copy flags "+name, unix.SYS_COPY_FILE_RANGE, f.fd, 0, g.fd, 0, 10, 1)
				b.do("copy wild "+name, unix.SYS_COPY_FILE_RANGE, f.fd, wild{}, g.fd, 0, 10, 0)
				b.do("copy negative "+name, unix.SYS_COPY_FILE_RANGE, f.fd, off(-1), g.fd, 0, 10, 0)
				b.do("copy overlapping "+name, unix.SYS_COPY_FILE_RANGE, f.fd, off(3), g.fd, off(5), 10, 0)
				b.do("copy far "+name, unix.SYS_COPY_FILE_RANGE, f.fd, off(1<<62), g.fd, off(5), int64(1)<<62, 0)
				o1 = off(7)
				b.do("send "+name, unix.SYS_SENDFILE, g.fd, f.fd, o1, 10)
				b.show("offset", binary.LittleEndian.Uint64(o1))
				b.do("send own offset "+name, unix.SYS_SENDFILE, g.fd, f.fd, 0, 10)
				b.do("send wild "+name, unix.SYS_SENDFILE, g.fd, f.fd, wild{}, 10)
				b.do("send negative "+name, unix.SYS_SENDFILE, g.fd, f.fd, off(-1), 10)
				if f.name != "dir" && f.name != "r" {
					b.do("send nothing "+name, unix.SYS_SENDFILE, g.fd, f.fd, 0, 0)
				}
				if f.name != "777" && f.name != "dir" && f.name != "r" && f.name != "w" {
					b.do("position", unix.SYS_LSEEK, f.fd, 0, 1)
				}
			}
		}
		b.raw(unix.SYS_FTRUNCATE, out, 0)
		b.raw(unix.SYS_LSEEK, wo, 0, 0)
		b.raw(unix.SYS_LSEEK, ro, 0, 0)
		b.do("copy all", unix.SYS_COPY_FILE_RANGE, ro, 0, wo, 0, 1000000, 0)
		b.do("copy rest", unix.SYS_COPY_FILE_RANGE, ro, 0, wo, 0, 1000000, 0)
		b.do("size", unix.SYS_LSEEK, out, 0, 2)
		b.do("send all", unix.SYS_SENDFILE, wo, ro, off(0), 1000000)
		b.do("size", unix.SYS_LSEEK, out, 0, 2)
		b.show("a pipe takes some", b.raw(unix.SYS_SENDFILE, w, ro, off(0), 1000000) > 4096)
		b.do("and no more", unix.SYS_SENDFILE, w, ro, off(0), 1000000)
	})
}
