package crash

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pinhole/blockdev/faultdev"
)

// A recorder is a FUSE file system with one file, the image. It keeps the file in memory and
// remembers what is written to it and when it is flushed. Whoever uses the file need not know: a
// sandbox, or the host's ext4 by way of a loop device.
//
// It is a process of its own (this test program again): a process that waits for a file system
// that it serves itself can wait for ever.
type recorder struct {
	image   string // path of the file
	dir     string
	mount   string
	log     string
	counter []byte // shared with the process: how many events there have been
	process *exec.Cmd
}

// recorderVar is the environment variable that makes this program a recorder; its value is the
// folder with everything that belongs to it.
const recorderVar = "PINHOLE_TEST_RECORDER"

// newRecorder begins to record what is done to an image with the given content. It skips the
// test where there is no right to mount.
func newRecorder(t testing.TB, content []byte) *recorder {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("recording what the host writes needs root, to mount")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("recording what the host writes needs FUSE: there is no /dev/fuse")
	}
	dir := t.TempDir()
	r := &recorder{dir: dir, mount: filepath.Join(dir, "mnt"), log: filepath.Join(dir, "log")}
	r.image = filepath.Join(r.mount, "image")
	if err := os.Mkdir(r.mount, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "content"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	count := filepath.Join(dir, "counter")
	if err := os.WriteFile(count, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.counter, err = mapShared(count); err != nil {
		t.Fatal(err)
	}
	r.process = exec.Command("/proc/self/exe")
	r.process.Env = append(os.Environ(), recorderVar+"="+dir)
	r.process.Stderr = os.Stderr
	out, err := r.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		r.process.Process.Kill()
		r.process.Wait()
		t.Skipf("recording what the host writes needs FUSE: %s %v", line, err)
	}
	t.Cleanup(func() {
		if r.process != nil {
			unix.Unmount(r.mount, unix.MNT_DETACH)
			r.process.Process.Kill()
			r.process.Wait()
		}
	})
	return r
}

func mapShared(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func counterOf(p []byte) *atomic.Int64 { return (*atomic.Int64)(unsafe.Pointer(unsafe.SliceData(p))) }

// events is how many there have been so far.
func (r *recorder) events() int { return int(counterOf(r.counter).Load()) }

// stop ends the recording and returns it. Nobody has the image open any more.
func (r *recorder) stop(t testing.TB) []faultdev.Event {
	t.Helper()
	for try := 0; ; try++ {
		err := unix.Unmount(r.mount, 0)
		if err == nil {
			break
		}
		if try == 100 {
			t.Fatalf("unmount of the recorder: %v", err)
		}
		time.Sleep(50 * time.Millisecond) // a loop device lets go a little later
	}
	err := r.process.Wait()
	r.process = nil
	if err != nil {
		t.Fatalf("the recorder failed: %v", err)
	}
	f, err := os.Open(r.log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	events, err := readLog(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// The log is a record for each event: offset, or -1 for a flush; length; data.
func readLog(in io.Reader) ([]faultdev.Event, error) {
	var events []faultdev.Event
	for {
		var h [16]byte
		if _, err := io.ReadFull(in, h[:]); err == io.EOF {
			return events, nil
		} else if err != nil {
			return nil, err
		}
		off, n := int64(binary.LittleEndian.Uint64(h[:])), binary.LittleEndian.Uint64(h[8:])
		if off < 0 {
			events = append(events, faultdev.Event{Op: faultdev.Flush, Covers: len(events)})
			continue
		}
		e := faultdev.Event{Op: faultdev.Write, Off: off, Data: make([]byte, n), Call: len(events)}
		if _, err := io.ReadFull(in, e.Data); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
}

// recorderMain is the process of a recorder.
func recorderMain(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, "content"))
	if err != nil {
		return err
	}
	counter, err := mapShared(filepath.Join(dir, "counter"))
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	opts := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,max_read=131072", fd)
	if err := unix.Mount("pinhole-crash", filepath.Join(dir, "mnt"), "fuse", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	fmt.Println("ready")
	s := &fuse{fd: fd, content: content, log: bufio.NewWriterSize(f, 1<<20), counter: counterOf(counter)}
	if err := s.serve(); err != nil {
		return err
	}
	if err := s.log.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// fuse serves one file system, by the protocol of linux/fuse.h.
type fuse struct {
	fd      int
	content []byte
	log     *bufio.Writer
	counter *atomic.Int64
}

// Requests of the protocol.
const (
	fuseLookup      = 1
	fuseForget      = 2
	fuseGetattr     = 3
	fuseSetattr     = 4
	fuseOpen        = 14
	fuseRead        = 15
	fuseWrite       = 16
	fuseStatfs      = 17
	fuseRelease     = 18
	fuseFsync       = 20
	fuseFlush       = 25
	fuseInit        = 26
	fuseOpendir     = 27
	fuseReaddir     = 28
	fuseReleasedir  = 29
	fuseInterrupt   = 36
	fuseDestroy     = 38
	fuseBatchForget = 42
)

const (
	fuseRoot, fuseImage = 1, 2
	fuseBuffer          = 1<<20 + 4096
	forSeconds          = 3600 // that names and attributes stay valid
)

func (s *fuse) serve() error {
	buf := make([]byte, fuseBuffer)
	for {
		n, err := unix.Read(s.fd, buf)
		switch err {
		case nil:
		case unix.EINTR, unix.EAGAIN, unix.ENOENT:
			continue
		case unix.ENODEV:
			return nil // unmounted
		default:
			return err
		}
		if err := s.answer(buf[:n]); err != nil {
			return err
		}
	}
}

func (s *fuse) answer(req []byte) error {
	le := binary.LittleEndian
	code, unique, node := le.Uint32(req[4:]), le.Uint64(req[8:]), le.Uint64(req[16:])
	body := req[40:]
	var out []byte
	errno := syscall.Errno(0)
	switch code {
	case fuseForget, fuseBatchForget, fuseInterrupt:
		return nil
	case fuseInit:
		out = make([]byte, 64)
		le.PutUint32(out, 7)
		le.PutUint32(out[4:], 31)
		le.PutUint32(out[8:], le.Uint32(body[8:])) // read ahead
		le.PutUint32(out[12:], 1<<5)               // large writes
		le.PutUint16(out[16:], 16)                 // requests in the background
		le.PutUint16(out[18:], 12)
		le.PutUint32(out[20:], 128<<10) // largest write
		le.PutUint32(out[24:], 1)       // granularity of times
	case fuseLookup:
		if string(body) != "image\x00" {
			errno = syscall.ENOENT
			break
		}
		out = make([]byte, 40)
		le.PutUint64(out, fuseImage)
		le.PutUint64(out[16:], forSeconds)
		le.PutUint64(out[24:], forSeconds)
		out = append(out, s.attr(fuseImage)...)
	case fuseGetattr, fuseSetattr:
		out = make([]byte, 16)
		le.PutUint64(out, forSeconds)
		out = append(out, s.attr(node)...)
	case fuseOpen, fuseOpendir:
		out = make([]byte, 16)
		le.PutUint32(out[8:], 2) // keep the cache
	case fuseRead:
		off, n := int64(le.Uint64(body[8:])), int64(le.Uint32(body[16:]))
		off = min(off, int64(len(s.content)))
		out = s.content[off:min(off+n, int64(len(s.content)))]
	case fuseWrite:
		off, n := int64(le.Uint64(body[8:])), int64(le.Uint32(body[16:]))
		data := body[40:][:n]
		if off+n > int64(len(s.content)) {
			errno = syscall.ENOSPC
			break
		}
		copy(s.content[off:], data)
		if err := s.note(off, data); err != nil {
			return err
		}
		out = make([]byte, 8)
		le.PutUint32(out, uint32(n))
	case fuseFsync:
		if err := s.note(-1, nil); err != nil {
			return err
		}
	case fuseStatfs:
		out = make([]byte, 80)
		le.PutUint32(out[40:], 4096)
		le.PutUint32(out[44:], 255)
		le.PutUint32(out[48:], 4096)
	case fuseReaddir, fuseRelease, fuseReleasedir, fuseFlush, fuseDestroy:
	default:
		errno = syscall.ENOSYS
	}
	head := make([]byte, 16, 16+len(out))
	le.PutUint32(head, uint32(16+len(out)))
	le.PutUint32(head[4:], uint32(-int32(errno)))
	le.PutUint64(head[8:], unique)
	_, err := unix.Write(s.fd, append(head, out...))
	if err == unix.ENOENT { // interrupted meanwhile
		err = nil
	}
	return err
}

// attr is struct fuse_attr.
func (s *fuse) attr(node uint64) []byte {
	le := binary.LittleEndian
	a := make([]byte, 88)
	le.PutUint64(a, node)
	le.PutUint32(a[64:], 1)
	if node == fuseRoot {
		le.PutUint32(a[60:], unix.S_IFDIR|0o755)
	} else {
		le.PutUint64(a[8:], uint64(len(s.content)))
		le.PutUint64(a[16:], uint64(len(s.content)/512))
		le.PutUint32(a[60:], unix.S_IFREG|0o600)
	}
	le.PutUint32(a[80:], 4096)
	return a
}

// note records an event before it is answered.
func (s *fuse) note(off int64, data []byte) error {
	var h [16]byte
	binary.LittleEndian.PutUint64(h[:], uint64(off))
	binary.LittleEndian.PutUint64(h[8:], uint64(len(data)))
	s.log.Write(h[:])
	_, err := s.log.Write(data)
	s.counter.Add(1)
	return err
}
