package emu

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pinhole/abi"
)

// randomScript makes a few hundred random calls that mean something, the same in every box.
type randomScript struct {
	*box
	*rand.Rand
	fds   []int // open descriptors, or what a failed call returned
	buf   []byte
	never []byte // is never written
}

var randomNames = []string{"a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a", "l", "l/a", "d/../a", "./b", "c/", "none/x"}

func (s *randomScript) name() string { return randomNames[s.IntN(len(randomNames))] }

func (s *randomScript) fd() int {
	if len(s.fds) == 0 || s.IntN(20) == 0 {
		return -1
	}
	return s.fds[s.IntN(len(s.fds))]
}

func (s *randomScript) pick(v ...int) int { return v[s.IntN(len(v))] }

// keep remembers a descriptor, in place of an older one once there are many.
func (s *randomScript) keep(fd int) {
	if fd < 0 {
		return
	}
	if len(s.fds) < 12 {
		s.fds = append(s.fds, fd)
		return
	}
	i := s.IntN(len(s.fds))
	s.raw(unix.SYS_CLOSE, s.fds[i])
	s.fds[i] = fd
}

// stat logs what is the same on all file systems.
func (s *randomScript) stat(what string, r int64, p []byte) {
	if r != 0 {
		return
	}
	var st abi.Stat
	st.Decode(p)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		st.Size, st.Nlink = 0, 0
	case unix.S_IFIFO:
		st.Nlink = 1
	}
	s.show(what, fmt.Sprintf("%o %d links %d bytes", st.Mode, st.Nlink, st.Size))
}

func (s *randomScript) step() {
	p := s.buf
	switch s.IntN(38) {
	case 0, 1, 2, 3:
		flags := s.pick(unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR, unix.O_PATH) |
			s.pick(0, unix.O_CREAT, unix.O_CREAT, unix.O_CREAT|unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND|unix.O_CREAT, unix.O_DIRECTORY, unix.O_NOFOLLOW)
		s.keep(s.box.fd("open", unix.SYS_OPENAT, at, s.name(), flags|unix.O_NONBLOCK, s.pick(0o644, 0o600, 0o755)))
	case 4:
		if len(s.fds) > 0 {
			i := s.IntN(len(s.fds))
			s.do("close", unix.SYS_CLOSE, s.fds[i])
			s.fds = append(s.fds[:i], s.fds[i+1:]...)
		}
	case 5, 6, 7:
		clear(p[:64])
		if n := s.do("read", unix.SYS_READ, s.fd(), p, s.pick(0, 1, 10, 64)); n > 0 {
			s.show("content", string(p[:n]))
		}
	case 8, 9, 10:
		for i := range 64 {
			p[i] = byte('a' + s.IntN(26))
		}
		s.do("write", unix.SYS_WRITE, s.fd(), p, s.pick(0, 1, 10, 64))
	case 11, 12:
		clear(p[:64])
		if n := s.do("pread", unix.SYS_PREAD64, s.fd(), p, 64, s.pick(0, 1, 5, 100, 5000)); n > 0 {
			s.show("content", string(p[:n]))
		}
	case 13, 14:
		for i := range 64 {
			p[i] = byte('A' + s.IntN(26))
		}
		s.do("pwrite", unix.SYS_PWRITE64, s.fd(), p, s.pick(1, 64), s.pick(0, 1, 5, 100, 5000, 70000))
	case 15:
		s.do("seek", unix.SYS_LSEEK, s.fd(), s.pick(-70, -1, 0, 1, 100), s.pick(unix.SEEK_SET, unix.SEEK_CUR))
	case 16:
		fd := s.fd()
		var st abi.Stat
		s.raw(unix.SYS_FSTAT, fd, p)
		if st.Decode(p); st.Mode&unix.S_IFMT != unix.S_IFDIR { // the ends of directories lie anywhere
			s.do("seek from the end", unix.SYS_LSEEK, fd, s.pick(-70, -1, 0, 1, 100), unix.SEEK_END)
		}
	case 17:
		s.do("ftruncate", unix.SYS_FTRUNCATE, s.fd(), s.pick(0, 1, 10, 100, 5000))
	case 18:
		s.keep(s.box.fd("dup", unix.SYS_DUP, s.fd()))
	case 19:
		s.do("mkdir", unix.SYS_MKDIRAT, at, s.name(), 0o755)
	case 20, 21:
		s.do("unlink", unix.SYS_UNLINKAT, at, s.name(), s.pick(0, 0, unix.AT_REMOVEDIR))
	case 22:
		s.do("rename", unix.SYS_RENAMEAT2, at, s.name(), at, s.name(), s.pick(0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE))
	case 23:
		s.do("link", unix.SYS_LINKAT, at, s.name(), at, s.name(), s.pick(0, unix.AT_SYMLINK_FOLLOW))
	case 24:
		s.do("symlink", unix.SYS_SYMLINKAT, s.name(), at, s.name())
	case 25:
		s.stat("stat", s.do("stat", unix.SYS_NEWFSTATAT, at, s.name(), p, s.pick(0, unix.AT_SYMLINK_NOFOLLOW)), p)
	case 26:
		s.stat("fstat", s.do("fstat", unix.SYS_FSTAT, s.fd(), p), p)
	case 27:
		fd := s.fd()
		if s.raw(unix.SYS_LSEEK, fd, 0, unix.SEEK_SET) == 0 {
			s.show("names", names(s.box, fd, 4096))
			s.raw(unix.SYS_LSEEK, fd, 0, unix.SEEK_SET) // the end may be any number
		}
	case 28:
		q := s.box.buf(8)
		if s.do("pipe", unix.SYS_PIPE2, q, unix.O_NONBLOCK) == 0 {
			s.keep(int(binary.LittleEndian.Uint32(q)))
			s.keep(int(binary.LittleEndian.Uint32(q[4:])))
		}
	case 29:
		s.do("flock", unix.SYS_FLOCK, s.fd(), s.pick(unix.LOCK_SH, unix.LOCK_EX, unix.LOCK_UN)|unix.LOCK_NB)
	case 30:
		q := s.box.buf(32)
		binary.LittleEndian.PutUint16(q, uint16(s.IntN(3)))
		binary.LittleEndian.PutUint64(q[8:], uint64(s.IntN(20)))
		binary.LittleEndian.PutUint64(q[16:], uint64(s.IntN(10)))
		s.do("lock", unix.SYS_FCNTL, s.fd(), s.pick(unix.F_SETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLK), q)
	case 31:
		s.do("copy", unix.SYS_COPY_FILE_RANGE, s.fd(), 0, s.fd(), 0, s.pick(1, 100, 100000), 0)
	case 32:
		s.do("fallocate", unix.SYS_FALLOCATE, s.fd(), s.pick(0, 1, 3), s.pick(0, 100, 4096), s.pick(1, 100, 4096))
	case 33:
		q := s.box.buf(16)
		fds := [2]int{s.fd(), s.fd()}
		for i, fd := range fds {
			binary.LittleEndian.PutUint32(q[8*i:], uint32(fd))
			q[8*i+4] = 0xff
		}
		s.do("poll", unix.SYS_POLL, q, 2, 0)
		s.show("events", [2]uint16{binary.LittleEndian.Uint16(q[6:]), binary.LittleEndian.Uint16(q[14:])})
	case 34, 35:
		// Of a file, and of memory below, Linux keeps pages in the pipe, which show later changes.
		in := s.fd()
		var st abi.Stat
		s.raw(unix.SYS_FSTAT, in, p)
		if st.Decode(p); st.Mode&unix.S_IFMT != unix.S_IFREG {
			s.do("splice", unix.SYS_SPLICE, in, 0, s.fd(), 0, s.pick(1, 7, 100), s.pick(0, unix.SPLICE_F_MOVE)|unix.SPLICE_F_NONBLOCK)
		}
	case 36:
		s.do("tee", unix.SYS_TEE, s.fd(), s.fd(), s.pick(1, 7, 100), unix.SPLICE_F_NONBLOCK)
	case 37:
		fd, q := s.fd(), s.never
		clear(p[:150])
		if s.raw(unix.SYS_FCNTL, fd, unix.F_GETFL)&unix.O_ACCMODE == unix.O_RDONLY {
			q = p
		}
		s.do("vmsplice", unix.SYS_VMSPLICE, fd, s.box.iov(q[:8], 8, q[100:], s.pick(0, 1, 50)), 2, unix.SPLICE_F_NONBLOCK)
		s.show("memory", string(q[:150]))
	}
}

func TestLinuxRandom(t *testing.T) {
	seeds, steps := uint64(60), 300
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			asLinux(t, func(b *box) {
				s := &randomScript{box: b, Rand: rand.New(rand.NewPCG(seed, 3)), buf: b.buf(4096), never: b.str(strings.Repeat("never changed ", 20))}
				b.mem.next = 1 << 16 // keep buf
				for range steps {
					if b.mem.next > 1<<19 {
						b.mem.next = 1 << 16
					}
					s.step()
				}
				for _, fd := range s.fds {
					b.raw(unix.SYS_CLOSE, fd)
				}
				b.open = nil
			})
		})
	}
}
