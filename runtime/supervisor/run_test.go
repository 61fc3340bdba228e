package supervisor

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pinhole/blockdev"
	"pinhole/runtime/control"
	"pinhole/tests/harness"
)

// The test program is also the sandbox: started as pinhole-kernel it plays what its configuration names.
func TestMain(m *testing.M) {
	if os.Args[0] == "pinhole-kernel" {
		playSandbox()
	}
	os.Exit(m.Run())
}

// playSandbox is a kernel that needs no lock, image or guest.
func playSandbox() {
	in, out := os.NewFile(3, "control"), os.NewFile(4, "control")
	var c control.Config
	if err := c.Receive(in); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(ExitNotStarted)
	}
	send := func(f control.Frame) { out.Write(f.Append(nil)) }
	exited := func(status uint64) {
		send(control.Frame{Kind: control.Exited, Value: status})
		os.Exit(0)
	}
	if c.Program != "slow start" {
		send(control.Frame{Kind: control.Running, Value: ^uint64(0)})
	}
	switch c.Program {
	case "exit":
		exited(uint64(len(c.Args)))
	case "fail":
		send(control.Frame{Kind: control.Failed, Value: 127, Text: []byte("no such program\x1b[2J")})
		os.Exit(0)
	case "echo":
		io.Copy(os.Stdout, os.Stdin)
		exited(0)
	case "flood stdout":
		for {
			if _, err := syscall.Write(1, make([]byte, 4096)); err == syscall.EPIPE {
				exited(128 + 13)
			}
		}
	case "die":
		os.Exit(2)
	case "sigsys":
		runtime.LockOSThread()
		unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		all := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0x80000000} // SECCOMP_RET_KILL_PROCESS
		unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&unix.SockFprog{Len: 1, Filter: &all})), 0, 0)
		select {}
	case "bug":
		send(control.Frame{Kind: control.Bug, Text: []byte("panic: out of cheese\n")})
		os.Exit(ExitBug)
	case "lies":
		for i := range 50000 {
			send(control.Frame{Kind: control.Kind(1000 + i), Value: ^uint64(0), Text: bytes.Repeat([]byte("\a"), 50)})
			if i%10 == 0 {
				send(control.Frame{Kind: control.Report, Text: bytes.Repeat([]byte("noise\x1b\n"), 500)})
			}
		}
		send(control.Frame{Kind: control.Exited, Value: 0xffffffff00000105})
		out.Write(bytes.Repeat([]byte{0xff}, 1<<20)) // not a frame any more
		os.Exit(0)
	case "slow start":
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "wait":
		r := control.NewReader(in)
		fmt.Println("ready")
		for {
			f, err := r.Next()
			if err != nil {
				os.Exit(1)
			}
			if f.Kind == control.Signal {
				exited(128 + f.Value)
			}
		}
	case "terminal":
		s := []byte(c.Settings)
		if len(s) != settingsBytes || !c.Terminal[0] || c.Rows != 33 || c.Cols != 77 {
			exited(1)
		}
		for i := range 16 {
			s[i] ^= 0xff // every flag there is
		}
		send(control.Frame{Kind: control.Settings, Text: s[:20]}) // too short: ignored
		send(control.Frame{Kind: control.Settings, Text: s})
		send(control.Frame{Kind: control.Report, Text: []byte("set\n")})
		control.NewReader(in).Next()
		exited(0)
	case "write":
		ringMem, _ := unix.Mmap(10, 0, blockdev.RingBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		ram, _ := unix.Mmap(9, 0, int(c.RAMBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		image, err := unix.Mmap(8, 0, int(c.ImageBytes), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			os.Exit(3)
		}
		d, err := blockdev.NewRingDevice(blockdev.RingConfig{Ring: ringMem, Image: image, RAM: ram, Bounce: ram[:8192], Bell: bell{in: 5, out: 6}})
		if err != nil {
			os.Exit(4)
		}
		if err := d.WriteV([]blockdev.Vec{{Off: 4096, Data: bytes.Repeat([]byte("pinhole\n"), 64)}}); err != nil {
			send(control.Frame{Kind: control.Report, Text: []byte(err.Error() + "\n")})
			exited(1)
		}
		if err := d.Flush(); err != nil {
			exited(2)
		}
		exited(0)
	case "forge":
		ringMem, _ := unix.Mmap(10, 0, blockdev.RingBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		r, _ := blockdev.NewRing(ringMem)
		for i := range uint32(100) {
			r.PutRequest(i, blockdev.Request{Op: blockdev.OpWrite, Len: 512, Off: 1 << 40})
		}
		r.PublishRequests(100)
		bell{out: 6}.Ring()
		for r.ReplyTail() != 100 {
			time.Sleep(time.Millisecond)
		}
		exited(0)
	}
	os.Exit(99)
}

// outcome is what a run shows to its user.
type outcome struct {
	Status   int
	Stdout   string
	Messages string
}

// play runs the play with the given name as a sandbox.
func play(t *testing.T, name string, change func(*Spec)) outcome {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	var messages bytes.Buffer
	s := Spec{
		Kernel: self, Stdin: stdin, Stdout: stdout, Stderr: os.Stderr, Messages: &messages,
		Config: control.Config{Program: name, CacheBytes: 1 << 20, Memory: 1 << 20},
	}
	if change != nil {
		change(&s)
	}
	if s.Image == nil {
		if s.Image, err = OpenImage(path, false); err != nil {
			t.Fatal(err)
		}
	}
	defer s.Image.Close()
	o := outcome{Status: Run(s)}
	if s.Stdout != stdout {
		s.Stdout.Close()
	}
	b, err := os.ReadFile(stdout.Name())
	if err != nil {
		t.Fatal(err)
	}
	o.Stdout, o.Messages = string(b), messages.String()
	return o
}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		play string
		want outcome
	}{
		{"exit", outcome{}},
		{"fail", outcome{Status: 127, Messages: "pinhole: no such program?[2J\n"}},
		{"write", outcome{}},
		{"die", outcome{Status: 70, Messages: "pinhole: the sandbox ended without a word (exit status 2): a fault of Pinhole's kernel, or the program's writing into it. What was synced to the image is safe\n"}},
		{"bug", outcome{Status: 70, Messages: "panic: out of cheese\npinhole: this is a bug of Pinhole's kernel, or the program wrote into the kernel's memory. What was synced to the image is safe\n"}},
		{"sigsys", outcome{Status: 159, Messages: "pinhole: the sandbox was killed by its lock (SIGSYS): it attempted a forbidden host call\n"}},
		{"forge", outcome{Messages: "pinhole: refused 100 malformed disk requests of the sandbox: its kernel is broken or was taken over\n"}},
	} {
		t.Run(c.play, func(t *testing.T) {
			if d := cmp.Diff(c.want, play(t, c.play, nil)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// What a sandbox says of itself is bounded and harmless, and its status stays one.
func TestRunLies(t *testing.T) {
	o := play(t, "lies", nil)
	if o.Status != 5 {
		t.Errorf("status %d, want 5", o.Status)
	}
	if len(o.Messages) > maxReports+1000 {
		t.Errorf("%d bytes of messages", len(o.Messages))
	}
	if strings.ContainsAny(o.Messages, "\x1b\a") {
		t.Error("control characters reached the operator")
	}
}

func TestRunSignal(t *testing.T) {
	for _, name := range []string{"wait", "slow start"} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			go func() {
				r.Read(make([]byte, 10)) // it is ready
				syscall.Kill(os.Getpid(), syscall.SIGTERM)
			}()
			_, w2, _ := pipe(0) // a blocking description: handed over as it is
			defer w2.Close()
			o := play(t, name, func(s *Spec) { s.Stderr = w2; s.Stdout = blocking(t, w) })
			if want := (outcome{Status: 128 + 15}); o.Status != want.Status || o.Messages != "" {
				t.Errorf("got %+v, want %+v", o, want)
			}
		})
	}
}

// Somebody on the host kills the sandbox.
func TestRunKilled(t *testing.T) {
	r, w, err := pipe(0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		r.Read(make([]byte, 10)) // it is ready
		tasks, _ := filepath.Glob("/proc/self/task/*/children")
		for _, task := range tasks {
			var child int
			b, _ := os.ReadFile(task)
			fmt.Sscan(string(b), &child)
			if child != 0 {
				syscall.Kill(child, syscall.SIGKILL)
			}
		}
	}()
	want := outcome{Status: 137, Messages: "pinhole: the sandbox was killed (SIGKILL): by somebody on the host, or by the host for want of memory. What was synced to the image is safe\n"}
	if d := cmp.Diff(want, play(t, "wait", func(s *Spec) { s.Stdout = w })); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// blocking returns the write end of a pipe as a shell hands it over.
func blocking(t *testing.T, f *os.File) *os.File {
	t.Helper()
	if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
		t.Fatal(err)
	}
	return f
}

// Sockets, terminals and devices are relayed; pipes and files are not.
func TestStdioRelay(t *testing.T) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	here, there := os.NewFile(uintptr(p[0]), "socket"), os.NewFile(uintptr(p[1]), "socket")
	defer there.Close()
	text := bytes.Repeat([]byte("through a socket\n"), 10000)
	go func() {
		here.Write(text)
		here.Close()
	}()
	o := play(t, "echo", func(s *Spec) { s.Stdin = there })
	if o.Status != 0 || o.Messages != "" || o.Stdout != string(text) {
		t.Errorf("status %d, %d bytes of output, messages %q", o.Status, len(o.Stdout), o.Messages)
	}
}

// A reader of the output that goes away is EPIPE for the sandbox, relayed or not.
func TestStdoutClosed(t *testing.T) {
	for _, kind := range []string{"pipe", "socket"} {
		t.Run(kind, func(t *testing.T) {
			var reader, writer *os.File
			if kind == "pipe" {
				reader, writer, _ = pipe(0)
			} else {
				p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				reader, writer = os.NewFile(uintptr(p[0]), "socket"), os.NewFile(uintptr(p[1]), "socket")
			}
			go func() {
				io.ReadFull(reader, make([]byte, 100000))
				reader.Close()
			}()
			o := play(t, "flood stdout", func(s *Spec) {
				// What play reads back is another file than what the sandbox writes.
				s.Stdout = writer
			})
			if o.Status != 128+13 || o.Messages != "" {
				t.Errorf("got status %d, messages %q", o.Status, o.Messages)
			}
		})
	}
}

// A program may set a terminal's treatment of what is typed and printed; at the end it is as before.
func TestTerminal(t *testing.T) {
	_, tty := harness.Terminal(t)
	fd := int(tty.Fd())
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 77}); err != nil {
		t.Fatal(err)
	}
	get := func() unix.Termios {
		s, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *s
	}
	before := get()
	var during unix.Termios
	messages := &onWrite{do: func() {
		during = get()
		syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	}}
	o := play(t, "terminal", func(s *Spec) { s.Stdin, s.Messages = tty, messages })
	if o.Status != 0 || string(messages.text) != "set\n" {
		t.Fatalf("%+v, messages %q", o, messages.text)
	}
	if d := cmp.Diff(before, get()); d != "" {
		t.Errorf("the terminal is not as before\n%s", d)
	}
	want := before
	want.Iflag ^= inputFlags
	want.Oflag ^= outputFlags
	want.Lflag ^= localFlags
	if d := cmp.Diff(want, during); d != "" {
		t.Errorf("while the program ran (-want +got)\n%s", d)
	}
}

// onWrite does something when it is first written to.
type onWrite struct {
	do   func()
	text []byte
}

func (w *onWrite) Write(p []byte) (int, error) {
	if w.text == nil {
		w.do()
	}
	w.text = append(w.text, p...)
	return len(p), nil
}

func TestOpenImage(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, n int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	held := file("held", 8192)
	writer, err := OpenImage(held, false)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	read := file("read", 8192)
	for range 2 { // any number of readers
		i, err := OpenImage(read, true)
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
	}
	for _, c := range []struct {
		path     string
		readOnly bool
		want     string
	}{
		{filepath.Join(dir, "absent"), false, "no such file; make one with"},
		{dir, false, "is a directory"},
		{dir, true, "is a directory"},
		{filepath.Join(dir, "fifo"), true, "is not a regular file"},
		{"/dev/null", false, "is not a regular file"},
		{file("empty", 0), false, "is not a disk image: it has only 0 bytes"},
		{file("short", 4095), false, "is not a disk image"},
		{held, false, "in use by another pinhole; wait until that ends"},
		{held, true, "another pinhole is writing it"},
		{read, false, "in use by another pinhole"},
	} {
		i, err := OpenImage(c.path, c.readOnly)
		if err == nil {
			i.Close()
			t.Errorf("%s: opened", c.path)
			continue
		}
		if msg := err.Error(); !strings.Contains(msg, c.want) || !strings.Contains(msg, c.path) || strings.Contains(msg, "\n") {
			t.Errorf("%s: got %q, want one line with %q", c.path, msg, c.want)
		}
	}
}
