// Package run tests "pinhole run" as a user meets it: what it prints and how it exits, above all when
// something is wrong.
package run

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pinhole/tests/harness"
)

// built is the test program, which is built once.
var built struct {
	sync.Once
	dir, path string
}

func TestMain(m *testing.M) {
	status := m.Run()
	os.RemoveAll(built.dir)
	os.Exit(status)
}

// program returns the path of the test program, built for Pinhole.
func program(t *testing.T) string {
	t.Helper()
	pinhole := harness.Pinhole(t)
	harness.Sysroot(t)
	built.Do(func() {
		dir, err := os.MkdirTemp("", "pinhole-run-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir = dir
		out := filepath.Join(dir, "prog")
		harness.Must(t, pinhole, "cc", "-O0", "-w", "-o", out, filepath.Join("src", "prog.c"))
		built.path = out
	})
	if built.path == "" {
		t.Fatal("the test program could not be built")
	}
	return built.path
}

// image makes an image with the test program as /bin/prog, and whatever files holds besides.
func image(t *testing.T, size string, files map[string]string) string {
	t.Helper()
	all := map[string]string{"/bin/prog": program(t)}
	for to, from := range files {
		all[to] = from
	}
	return harness.Image(t, size, all)
}

// run runs pinhole to its end.
func run(t *testing.T, args ...string) harness.Result {
	t.Helper()
	return harness.Exec(t, "", "", harness.Pinhole(t), append([]string{"run"}, args...)...)
}

func TestPrograms(t *testing.T) {
	prog := program(t)
	for _, c := range []struct {
		args string
		want harness.Result
	}{
		{"hello", harness.Result{Stdout: "hello, world\n"}},
		{"exit 0", harness.Result{}},
		{"exit 7", harness.Result{Status: 7}},
		{"exit 255", harness.Result{Status: 255}},
		{"exit 256", harness.Result{}},
		{"args -l --image x -- --help", harness.Result{Stdout: "<-l><--image><x><--><--help>"}},
		{"id", harness.Result{Stdout: "0 0 /\n"}},
	} {
		got := run(t, append([]string{prog}, strings.Fields(c.args)...)...)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.args, d)
		}
	}
}

// Faults of the program are told with what is known of them, and have the status a shell would give.
func TestProgramFaults(t *testing.T) {
	prog := program(t)
	for _, c := range []struct {
		what   string
		status int
		says   string
	}{
		{"segv", 139, "SIGSEGV"},
		{"abort", 134, "SIGABRT"},
		{"deep", 139, "SIGSEGV"},
	} {
		got := run(t, prog, c.what)
		if got.Status != c.status || !strings.Contains(got.Stderr, c.says) || got.Stdout != "" {
			t.Errorf("%s: got %+v, want status %d and %q on standard error", c.what, got, c.status, c.says)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "of the host")
	t.Setenv("TERM", "xterm")
	t.Setenv("GIVEN", "here")
	got := run(t, "--env", "A=b c", "-e", "GIVEN", program(t), "env")
	want := "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/\nTERM=xterm\nA=b c\nGIVEN=here\n"
	if d := cmp.Diff(harness.Result{Stdout: want}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestUserAndDirectory(t *testing.T) {
	img := image(t, "16M", nil)
	got := run(t, "-i", img, "--user", "5:6", "--cwd", "/bin", "prog", "id")
	if d := cmp.Diff(harness.Result{Stdout: "5 6 /bin\n"}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// What a program writes is on the image afterwards, and the image is clean.
func TestImageKeeps(t *testing.T) {
	img := image(t, "16M", nil)
	if got := run(t, "-i", img, "/bin/prog", "write", "/note", "kept"); got != (harness.Result{}) {
		t.Fatalf("%+v", got)
	}
	harness.Fsck(t, img)
	if got := harness.Must(t, harness.Pinhole(t), "image", "cat", img, "/note"); got != "kept" {
		t.Errorf("the image holds %q", got)
	}
	before, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	if got := run(t, "-i", img, "--read-only", "/bin/prog", "write", "/note", "changed"); got.Status != 1 || !strings.Contains(got.Stderr, "ead-only file system") {
		t.Errorf("write to an image mounted read-only: %+v", got)
	}
	if after, err := os.ReadFile(img); err != nil || !bytes.Equal(before, after) {
		t.Errorf("--read-only changed the image (%v)", err)
	}
}

// Changes of an ephemeral image are there for the program and for nobody else.
func TestEphemeral(t *testing.T) {
	img := image(t, "16M", map[string]string{"/data": write(t, "data", bytes.Repeat([]byte("data of the image\n"), 1000), 0o644)})
	before, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	other := start(t, "-i", img, "--ephemeral", "/bin/prog", "pause")
	got := run(t, "-i", img, "--ephemeral", "/bin/prog", "map", "/data", "changed")
	if d := cmp.Diff(harness.Result{Stdout: "changed\n"}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	got = run(t, "-i", img, "--ephemeral", "-m", "16M", "/bin/prog", "fill", "/full")
	if got.Status != 0 || !strings.HasPrefix(got.Stdout, "ENOSPC") && !strings.HasPrefix(got.Stdout, "EIO") {
		t.Errorf("more changes than memory: %+v", got)
	}
	one(t, run(t, "-i", img, "/bin/prog"), 125, "in use")
	other.end(t, syscall.SIGTERM, 128+15)
	if after, err := os.ReadFile(img); err != nil || !bytes.Equal(before, after) {
		t.Errorf("--ephemeral changed the image (%v)", err)
	}
}

func TestStdin(t *testing.T) {
	text := strings.Repeat("a line\n", 20000)
	got := harness.Exec(t, "", text, harness.Pinhole(t), "run", program(t), "cat")
	if got.Status != 0 || got.Stdout != text || got.Stderr != "" {
		t.Errorf("status %d, %d bytes of %d, %q", got.Status, len(got.Stdout), len(text), got.Stderr)
	}
}

// one checks that a run fails with this status and one line on standard error that holds all of says.
func one(t *testing.T, got harness.Result, status int, says ...string) {
	t.Helper()
	line := strings.TrimSuffix(got.Stderr, "\n")
	ok := got.Status == status && strings.HasPrefix(line, "pinhole: ") && !strings.Contains(line, "\n") && got.Stdout == ""
	for _, s := range says {
		ok = ok && strings.Contains(line, s)
	}
	if !ok {
		t.Errorf("got %+v\nwant status %d and one line with %q", got, status, says)
	}
}

func write(t *testing.T, name string, content []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBadImages(t *testing.T) {
	good := image(t, "16M", nil)
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 1<<20)
	rand.Read(noise)
	changed := func(off int, b ...byte) []byte {
		c := bytes.Clone(content)
		copy(c[off:], b)
		return c
	}
	const superblock = 1024
	for _, c := range []struct {
		name    string
		content []byte
		says    string
	}{
		{"noise", noise, "not an ext4 image"},
		{"zeros", make([]byte, 1<<20), "not an ext4 image"},
		{"short", []byte("hello"), "is not a disk image"},
		{"empty", nil, "is not a disk image"},
		{"truncated", content[:len(content)/2], "truncated"},
		{"superblock-checksum", changed(superblock+0x18, 0xff, 0xff), "corrupt"},
		{"feature", changed(superblock+0x60, 0xff, 0xff, 0xff, 0xff), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := write(t, c.name+".img", c.content, 0o600)
			one(t, run(t, "-i", img, "/bin/prog"), 125, c.name+".img", c.says)
			if after, err := os.ReadFile(img); err != nil || !bytes.Equal(after, c.content) {
				t.Errorf("the image was changed (%v)", err)
			}
		})
	}
	t.Run("absent", func(t *testing.T) {
		one(t, run(t, "-i", "absent.img", "/bin/prog"), 125, "absent.img", "no such file", "pinhole image create")
	})
	t.Run("directory", func(t *testing.T) {
		one(t, run(t, "-i", t.TempDir(), "/bin/prog"), 125, "is a directory")
	})
	t.Run("device", func(t *testing.T) {
		one(t, run(t, "-i", "/dev/null", "/bin/prog"), 125, "is not a regular file")
	})
	t.Run("good", func(t *testing.T) { // what the bad ones were made of
		if got := run(t, "-i", good, "/bin/prog"); got.Status != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestSecondWriter(t *testing.T) {
	img := image(t, "16M", nil)
	first := start(t, "-i", img, "/bin/prog", "pause")
	one(t, run(t, "-i", img, "/bin/prog"), 125, img, "in use by another pinhole", "wait")
	one(t, run(t, "-i", img, "--read-only", "/bin/prog"), 125, img, "another pinhole is writing it")
	first.end(t, syscall.SIGTERM, 128+15)
	if got := run(t, "-i", img, "/bin/prog"); got.Stdout != "hello, world\n" {
		t.Errorf("after the first has ended: %+v", got)
	}
}

func TestManyReaders(t *testing.T) {
	img := image(t, "16M", nil)
	first := start(t, "-i", img, "--read-only", "/bin/prog", "pause")
	if got := run(t, "-i", img, "--read-only", "/bin/prog"); got.Stdout != "hello, world\n" {
		t.Errorf("a second reader: %+v", got)
	}
	one(t, run(t, "-i", img, "/bin/prog"), 125, "in use")
	first.end(t, syscall.SIGTERM, 128+15)
}

func TestBadPrograms(t *testing.T) {
	good, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(off int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[off:], b)
		return c
	}
	files := map[string][]byte{
		"arm":       changed(18, 183), // e_machine
		"elf32":     changed(4, 1),    // EI_CLASS
		"big":       changed(5, 2),    // EI_DATA
		"cut":       good[:100],
		"holes":     good[:len(good)/2],
		"nowhere":   changed(32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), // e_phoff
		"many":      changed(56, 0xff, 0xff),                                     // e_phnum
		"windows":   []byte("MZ\x90\x00 and so on"),
		"mac":       binary.LittleEndian.AppendUint32(nil, 0xfeedfacf),
		"text":      []byte("echo hello\n"),
		"empty":     nil,
		"script":    []byte("#!/bin/absent\n"),
		"forgetful": []byte("#!\n"),
	}
	onImage := map[string]string{}
	for name, content := range files {
		onImage["/bin/"+name] = write(t, name, content, 0o755)
	}
	onImage["/bin/closed"] = write(t, "closed", good, 0o644)
	img := image(t, "32M", onImage)
	for _, c := range []struct {
		name   string
		status int
		says   string
	}{
		{"arm", 126, "another kind of machine"},
		{"elf32", 126, "another kind of machine"},
		{"big", 126, "another kind of machine"},
		{"cut", 126, "damaged"},
		{"holes", 126, "damaged"},
		{"nowhere", 126, "damaged"},
		{"many", 126, ""},
		{"windows", 126, "neither an ELF program nor a script"},
		{"mac", 126, "neither an ELF program nor a script"},
		{"text", 126, "neither an ELF program nor a script"},
		{"empty", 126, "neither an ELF program nor a script"},
		{"script", 127, "/bin/absent"},
		{"forgetful", 126, "no interpreter"},
		{"closed", 126, "permission denied"},
		{"absent", 127, "not found"},
		{".", 126, "not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			one(t, run(t, "-i", img, "/bin/"+c.name), c.status, c.says)
		})
	}
	t.Run("no directory", func(t *testing.T) {
		one(t, run(t, "-i", img, "-C", "/absent", "/bin/prog"), 125, "/absent")
	})
	t.Run("absent on the host", func(t *testing.T) {
		one(t, run(t, "./absent"), 127, "./absent", "no such program")
	})
	t.Run("closed on the host", func(t *testing.T) {
		one(t, run(t, onImage["/bin/closed"]), 126, "not an executable file")
	})
	harness.Fsck(t, img)
}

// A dynamically linked program of the host finds no dynamic linker, and is told what to do.
func TestDynamicProgram(t *testing.T) {
	native := harness.NativeCC(t, filepath.Join("src", "prog.c"), "-O0")
	one(t, run(t, native), 126, "linked dynamically", "pinhole cc")
}

// Static programs that were not built for Pinhole run, as far as their calls are known; the trace
// names the calls.
func TestForeignProgram(t *testing.T) {
	native := harness.NativeCC(t, filepath.Join("src", "prog.c"), "-static", "-O0")
	if got := run(t, native, "hello"); got != (harness.Result{Stdout: "hello, world\n"}) {
		t.Errorf("%+v", got)
	}
	if got := run(t, native, "exit", "3"); got.Status != 3 {
		t.Errorf("%+v", got)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	run(t, "--trace="+trace, native, "hello")
	b, err := os.ReadFile(trace)
	if err != nil || !bytes.Contains(b, []byte("trap:exit_group = proc_exit(0)")) {
		t.Errorf("the trace is %q (%v)", b, err)
	}
}

func TestTrace(t *testing.T) {
	got := run(t, "--trace", program(t), "exit", "5")
	if got.Status != 5 || !strings.Contains(got.Stderr, "proc_exit(5)") {
		t.Errorf("%+v", got)
	}
}

// running is a pinhole that has not ended.
type running struct {
	cmd    *exec.Cmd
	stdout io.ReadCloser
	stderr bytes.Buffer
}

// start starts pinhole and waits until the program says that it is ready.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{cmd: exec.Command(harness.Pinhole(t), append([]string{"run"}, args...)...)}
	var err error
	if r.stdout, err = r.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	r.cmd.Stderr = &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(harness.Timeout, func() { r.cmd.Process.Kill() })
	t.Cleanup(func() { timer.Stop(); r.cmd.Process.Kill() })
	var b [6]byte
	if _, err := io.ReadFull(r.stdout, b[:]); err != nil || string(b[:]) != "ready\n" {
		r.cmd.Wait()
		t.Fatalf("the program did not start: %q %v\n%s", b, err, r.stderr.String())
	}
	return r
}

// end sends a signal, if it is not 0, and checks the exit status.
func (r *running) end(t *testing.T, s syscall.Signal, status int) {
	t.Helper()
	if s != 0 {
		r.cmd.Process.Signal(s)
	}
	io.Copy(io.Discard, r.stdout)
	r.cmd.Wait()
	if got := harness.ExitStatus(r.cmd.ProcessState); got != status {
		t.Errorf("exit status %d, want %d\n%s", got, status, r.stderr.String())
	}
}

// sandbox returns the process number of r's sandbox.
func (r *running) sandbox(t *testing.T) int {
	t.Helper()
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(r.cmd.Process.Pid) + "/task/*/children")
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			return pid
		}
	}
	t.Fatal("pinhole has no sandbox process")
	return 0
}

func TestSignals(t *testing.T) {
	prog := program(t)
	for _, c := range []struct {
		what   string
		signal syscall.Signal
		status int
	}{
		{"pause", syscall.SIGINT, 130},
		{"pause", syscall.SIGTERM, 143},
		{"spin", syscall.SIGTERM, 143},
		{"pause", syscall.SIGHUP, 129},
		{"pause", syscall.SIGQUIT, 131},
		{"catch", syscall.SIGINT, 40},
		{"catch", syscall.SIGUSR1, 40},
	} {
		start(t, prog, c.what).end(t, c.signal, c.status)
	}
}

// The sandbox does not outlive its supervisor.
func TestSupervisorKilled(t *testing.T) {
	for _, what := range []string{"pause", "spin"} {
		r := start(t, program(t), what)
		pid := r.sandbox(t)
		r.end(t, syscall.SIGKILL, 128+9)
		for deadline := time.Now().Add(harness.Timeout); alive(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the sandbox is still there", what)
			}
		}
	}
}

// alive tells whether a process is there and not only waits to be reaped.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// A sandbox that somebody kills is reported. The image stays one that can be used: at a quiet
// moment it is clean.
func TestSandboxKilled(t *testing.T) {
	img := image(t, "16M", nil)
	r := start(t, "-i", img, "/bin/prog", "pause")
	if err := syscall.Kill(r.sandbox(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.end(t, 0, 128+9)
	one(t, harness.Result{Status: 137, Stderr: harness.Messages(r.stderr.String())}, 137, "killed", "SIGKILL")
	harness.Fsck(t, img)
	if got := run(t, "-i", img, "/bin/prog"); got != (harness.Result{Stdout: "hello, world\n"}) {
		t.Errorf("the next run: %+v", got)
	}
	harness.Fsck(t, img)
}

// A reader that goes away ends the program with SIGPIPE, silently, as on the host.
func TestClosedStdout(t *testing.T) {
	prog := program(t)
	for _, relayed := range []bool{false, true} {
		cmd := exec.Command(harness.Pinhole(t), "run", prog, "yes")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		var reader *os.File
		if relayed { // a socket is not handed to the sandbox
			p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			reader = os.NewFile(uintptr(p[0]), "socket")
			cmd.Stdout = os.NewFile(uintptr(p[1]), "socket")
		} else {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			reader, cmd.Stdout = r, w
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmd.Stdout.(*os.File).Close()
		io.ReadFull(reader, make([]byte, 1000))
		reader.Close()
		cmd.Wait()
		if got := harness.ExitStatus(cmd.ProcessState); got != 128+13 || harness.Messages(stderr.String()) != "" {
			t.Errorf("relayed %v: exit status %d, %q", relayed, got, stderr.String())
		}
	}
}

// A full image is ENOSPC to the program, and clean afterwards.
func TestFullImage(t *testing.T) {
	img := image(t, "16M", nil)
	got := run(t, "-i", img, "/bin/prog", "fill", "/full")
	if got.Status != 0 || !strings.HasPrefix(got.Stdout, "ENOSPC after ") || got.Stderr != "" {
		t.Errorf("%+v", got)
	}
	harness.Fsck(t, img)
	if got := run(t, "-i", img, "/bin/prog"); got.Status != 0 {
		t.Errorf("the next run: %+v", got)
	}
}

// A full host disk under a sparse image is an error to the program and a line to the operator, and the image can be
// used again when there is room.
func TestFullHostDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	prog := program(t)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("cannot mount a tmpfs:", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	img := filepath.Join(dir, "sparse.img")
	pinhole := harness.Pinhole(t)
	harness.Must(t, pinhole, "image", "create", "--size", "64M", img)
	harness.Must(t, pinhole, "image", "put", img, prog, "/bin/prog")
	got := run(t, "-i", img, "/bin/prog", "fill", "/full")
	if got.Status == 70 || !strings.Contains(got.Stdout, "ENOSPC") && !strings.Contains(got.Stdout, "EIO") ||
		!strings.Contains(got.Stderr, "sparse.img") || !strings.Contains(got.Stderr, "the host's disk is full") {
		t.Errorf("%+v", got)
	}
	// More room, and everything is as it was.
	if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT, "size=128m"); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "-i", img, "/bin/prog"); got.Status != 0 || got.Stdout != "hello, world\n" {
		t.Errorf("the next run: %+v", got)
	}
	harness.Fsck(t, img)
}
