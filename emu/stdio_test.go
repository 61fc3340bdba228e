package emu

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"pinhole/abi"
)

// countingReader tells how much was asked for.
type countingReader struct {
	io.Reader
	mu    sync.Mutex
	asked []int
}

func (c *countingReader) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.asked = append(c.asked, len(p))
	c.mu.Unlock()
	return c.Reader.Read(p)
}

func TestStdin(t *testing.T) {
	pr, pw := io.Pipe()
	in := &countingReader{Reader: pr}
	w := newIOWorld(t, Config{Machine: &ioMachine{stdin: in}})
	buf, a := w.mem.alloc(100)
	w.ok(w.fdControl(0, abi.F_SETFL, abi.O_NONBLOCK))
	w.fails(abi.EAGAIN)(w.fileRead(0, a, 5))
	w.ok(w.fdControl(0, abi.F_SETFL, 0))

	// poll waits for content, which a read then has.
	p, fds := w.pollfds(abi.Pollfd{FD: 0, Events: abi.POLLIN})
	o, result := w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.pollMillis(fds, 1, -1) })
	o.blocked()
	pw.Write([]byte("hello"))
	w.expect(result, callResult{1, 0})
	if got := revents(p, 0); got != abi.POLLIN {
		t.Errorf("events %#x", got)
	}
	_, left := w.mem.alloc(4)
	w.ok(w.fdIoctl(0, abi.FIONREAD, uint64(left)))
	if n := w.ok(w.fileRead(0, a, 2)); string(buf[:n]) != "he" {
		t.Errorf("read %q", buf[:n])
	}
	if n := w.ok(w.fileRead(0, a, 100)); string(buf[:n]) != "llo" {
		t.Errorf("read %q", buf[:n])
	}

	// A read that is interrupted leaves what comes afterwards to the next.
	o, result = w.async(func(o *ioWorld) (uint64, abi.Errno) {
		_, a := o.mem.alloc(10)
		return o.fileRead(0, a, 10)
	})
	o.blocked()
	o.alert(attExit)
	w.expect(result, callResult{0, errRestart})
	pw.Write([]byte("more"))
	if n := w.ok(w.fileRead(0, a, 100)); string(buf[:n]) != "more" {
		t.Errorf("read %q", buf[:n])
	}
	pw.Close()
	if n := w.ok(w.fileRead(0, a, 100)); n != 0 {
		t.Errorf("read %d bytes at the end", n)
	}
	w.fails(abi.EFAULT)(w.fileRead(0, 1<<63, 1))
	w.fails(abi.EBADF)(w.fileWrite(0, a, 1))
	w.fails(abi.ESPIPE)(w.fileSeek(0, 0, 0))
	w.fails(abi.ENOTTY)(w.fdIoctl(0, abi.TCGETS, uint64(a)))
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.asked[0] != 5 || in.asked[1] != 10 {
		t.Errorf("the host was asked for %v bytes: more than a guest wanted", in.asked)
	}
}

// limitedWriter takes a few bytes at a time, and no more after a while.
type limitedWriter struct {
	bytes.Buffer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.left == 0 {
		return 0, os.ErrClosed
	}
	n := min(len(p), l.left)
	l.left -= n
	l.Buffer.Write(p[:n])
	if l.left == 0 && n < len(p) {
		return n, os.ErrClosed
	}
	return n, nil
}

func TestStdout(t *testing.T) {
	out := &limitedWriter{left: 200000}
	m := &ioMachine{}
	m.stdout[1] = out
	w := newIOWorld(t, Config{Machine: m})
	text := strings.Repeat("0123456789", 15000)
	a := w.mem.bytes(text)
	if n := w.ok(w.fileWrite(1, a, uint64(len(text)))); n != uint64(len(text)) {
		t.Errorf("wrote %d bytes", n)
	}
	if out.String() != text {
		t.Error("something else came out")
	}
	_, edge := w.mem.end(10)
	if n := w.ok(w.fileWrite(1, edge, 100)); n != 10 {
		t.Errorf("wrote %d bytes, want the 10 that can be read", n)
	}
	w.fails(abi.EFAULT)(w.fileWrite(1, w.mem.bad(), 100))
	if n := w.ok(w.fileWrite(1, a, uint64(len(text)))); n != 49990 {
		t.Errorf("wrote %d bytes before the reader went", n)
	}
	w.fails(abi.EPIPE)(w.fileWrite(1, a, 1))
	if !w.sigpend.set.Has(abi.SIGPIPE) {
		t.Error("no SIGPIPE")
	}
	w.fails(abi.EBADF)(w.fileRead(1, a, 1))
	w.ok(w.fileWrite(1, a, 0))
	_, st := w.mem.alloc(abi.StatSize)
	w.ok(w.fileStat(1, st))
	if w.attr.Mode&abi.S_IFMT != abi.S_IFIFO {
		t.Errorf("mode %o", w.attr.Mode)
	}
}

// TestStdoutWhole checks that what several threads write does not mix.
func TestStdoutWhole(t *testing.T) {
	out := &limitedWriter{left: 1 << 30}
	m := &ioMachine{}
	m.stdout[2] = out
	w := newIOWorld(t, Config{Machine: m})
	var wg sync.WaitGroup
	for i := range 4 {
		o := w.thread()
		wg.Add(1)
		go func() {
			defer wg.Done()
			a := o.mem.bytes(strings.Repeat(string(rune('a'+i)), 99) + "\n")
			for range 100 {
				o.fileWrite(2, a, 100)
			}
		}()
	}
	wg.Wait()
	for line := range strings.Lines(out.String()) {
		if len(line) != 100 || strings.Trim(line[:99], line[:1]) != "" {
			t.Fatalf("line %q", line)
		}
	}
}

func TestTerminal(t *testing.T) {
	out := &limitedWriter{left: 1 << 20}
	m := &ioMachine{stdin: strings.NewReader("typed")}
	m.stdout[1] = out
	w := newIOWorld(t, Config{Machine: m, Terminal: [3]bool{true, true, false}, Window: func() (uint16, uint16) { return 24, 80 }})
	p, a := w.mem.alloc(64)
	w.ok(w.fdIoctl(0, abi.TCGETS, uint64(a)))
	p[0] ^= 1
	w.ok(w.fdIoctl(1, abi.TCSETSW, uint64(a)))
	q, b := w.mem.alloc(64)
	w.ok(w.fdIoctl(0, abi.TCGETS, uint64(b)))
	if !bytes.Equal(p, q) {
		t.Error("settings are not kept")
	}
	w.fails(abi.ENOTTY)(w.fdIoctl(2, abi.TCGETS, uint64(a)))
	w.fails(abi.EFAULT)(w.fdIoctl(0, abi.TCGETS, uint64(w.mem.bad())))
	w.ok(w.fdIoctl(1, abi.TIOCGWINSZ, uint64(a)))
	var size abi.Winsize
	size.Decode(p)
	if size != (abi.Winsize{Row: 24, Col: 80}) {
		t.Errorf("window %+v", size)
	}
	tty := w.open("/dev/tty", abi.O_RDWR)
	for _, fd := range []int32{0, tty} { // a terminal is the same from all sides
		w.ok(w.fileWrite(fd, w.mem.bytes("x"), 1))
	}
	if out.String() != "xx" {
		t.Errorf("terminal has %q", out.String())
	}
	if n := w.ok(w.fileRead(tty, a, 64)); string(p[:n]) != "typed" {
		t.Errorf("read %q", p[:n])
	}
	if got := w.readlink("/proc/self/fd/0"); got != "/dev/pts/0" {
		t.Errorf("link is %q", got)
	}
	w = newIOWorld(t, Config{})
	w.fails(abi.ENXIO)(w.pathOpen(abi.AT_FDCWD, w.mem.str("/dev/tty"), abi.O_RDWR, 0))
}

func TestFileSizeLimit(t *testing.T) {
	w := newIOWorld(t, Config{})
	fd := w.open("/f", abi.O_CREAT|abi.O_RDWR)
	app := w.open("/f", abi.O_WRONLY|abi.O_APPEND)
	_, a := w.mem.alloc(1000)
	w.proc.limits[abi.RLIMIT_FSIZE].cur.Store(1000)
	signal := func(want bool) {
		t.Helper()
		if w.sigpend.set.Has(abi.SIGXFSZ) != want {
			t.Errorf("SIGXFSZ is sent: %v", !want)
		}
		w.sigpend = sigQueue{}
	}
	w.ok(w.fileWrite(fd, a, 900))
	if n := w.ok(w.fileWrite(app, a, 200)); n != 100 {
		t.Errorf("wrote %d bytes, want what is below the limit", n)
	}
	signal(false)
	w.fails(abi.EFBIG)(w.fileWrite(app, a, 1))
	signal(true)
	w.fails(abi.EFBIG)(w.filePwrite(fd, a, 1, 1000))
	signal(true)
	w.ok(w.filePwrite(fd, a, 1000, 0))
	w.fails(abi.EFBIG)(w.fileTruncate(fd, 1001))
	signal(true)
	w.fails(abi.EFBIG)(w.pathTruncate(w.mem.str("/f"), 1001))
	signal(true)
	w.fails(abi.EFBIG)(w.fileAllocate(fd, 0, 500, 501))
	signal(true)
	w.ok(w.fileAllocate(fd, abi.FALLOC_FL_KEEP_SIZE, 500, 501))
	w.ok(w.fileTruncate(fd, 1000))
	signal(false)
}

// TestWriteDropsPrivileges checks that who writes a setuid program takes the privilege from it.
func TestWriteDropsPrivileges(t *testing.T) {
	w := newIOWorld(t, Config{})
	fs := *w.proc.fs()
	fs.UID, fs.GID = 1000, 1000
	w.ok(w.pathMkdir(abi.AT_FDCWD, w.mem.str("/d"), 0o777))
	w.ok(w.pathChmod(abi.AT_FDCWD, w.mem.str("/d"), 0o777, 0))
	w.proc.fsctx.Store(&fs)
	fd := w.open("/d/f", abi.O_CREAT|abi.O_RDWR)
	w.ok(w.fileChmod(fd, 0o6777))
	_, a := w.mem.alloc(abi.StatSize)
	w.ok(w.fileWrite(fd, a, 1))
	w.ok(w.fileStat(fd, a))
	if w.attr.Mode&0o7777 != 0o777 {
		t.Errorf("mode is %o", w.attr.Mode)
	}
}
