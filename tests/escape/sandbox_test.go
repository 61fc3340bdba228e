// Package escape tries to get out: one guest program in src for each kind of forbidden act,
// and a hostile kernel in the place of the sandbox's own. Each act must end in an emulated
// answer, a trap or a clean end of the sandbox. What it has done to the host is looked for
// from outside: in the process's state, in canary files, in its memory.
package escape

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
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

	"pinhole/runtime/launch"
	"pinhole/tests/harness"
)

// secret stands in the supervisor's environment and arguments, and in a file of the host;
// nothing inside may ever show it.
const secret = "xyzzy-host-secret"

// sandbox is a running guest program, seen from outside.
type sandbox struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string // standard output; closed at its end
	stderr output
	image  string
	dir    string // the supervisor's working directory, with the canaries
	before map[string]string
	pid    int // of the sandbox process

	problems []string // what inspect has found
}

// output collects what a process writes while others look at it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

var build struct {
	sync.Mutex
	dir   string
	built map[string]string
}

// TestMain removes what guest builds.
func TestMain(m *testing.M) {
	status := m.Run()
	for _, dir := range []string{build.dir, hostileBuild.dir} {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}
	os.Exit(status)
}

// guest builds a program of src, without any library, and returns its path.
func guest(t *testing.T, name string) string {
	t.Helper()
	cc := harness.Tool(t, "gcc", "gcc")
	build.Lock()
	defer build.Unlock()
	if p, ok := build.built[name]; ok {
		return p
	}
	if build.dir == "" {
		dir, err := os.MkdirTemp("", "escape")
		if err != nil {
			t.Fatal(err)
		}
		build.dir, build.built = dir, map[string]string{}
	}
	out := filepath.Join(build.dir, name)
	harness.Must(t, cc, "-O2", "-w", "-fPIE", "-static-pie", "-nostdlib", "-nostartfiles", "-ffreestanding", "-fno-builtin",
		"-fno-stack-protector", "-mno-red-zone", "-Wl,-z,norelro", "-I", filepath.Join(harness.Root(), "shim", "include"),
		"-o", out, filepath.Join("src", name+".c"))
	build.built[name] = out
	return out
}

// start runs a guest program with arguments. @canary@ in one stands for the path of a file
// on the host.
func start(t *testing.T, program string, args ...string) *sandbox {
	t.Helper()
	return startWith(t, nil, program, args...)
}

// startWith has options of "pinhole run".
func startWith(t *testing.T, options []string, program string, args ...string) *sandbox {
	t.Helper()
	image := harness.Image(t, "32M", map[string]string{"/" + program: guest(t, program)})
	return startCommand(t, harness.Pinhole(t), image, append(options, "/"+program), args...)
}

// startCommand runs pinhole on an image: options and the program's path, and its arguments.
func startCommand(t *testing.T, pinhole, image string, what []string, args ...string) *sandbox {
	t.Helper()
	s := &sandbox{t: t, dir: t.TempDir(), image: image, lines: make(chan string, 1000)}
	canary := filepath.Join(s.dir, "canary")
	if err := os.WriteFile(canary, []byte(secret), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	s.before = s.canaries()
	argv := append([]string{"run", "--image", s.image}, what...)
	for _, a := range args {
		argv = append(argv, strings.ReplaceAll(a, "@canary@", canary))
	}
	s.cmd = exec.Command(pinhole, argv...)
	s.cmd.Dir = s.dir
	s.cmd.Env = append(os.Environ(), "HOST_SECRET="+secret)
	s.cmd.Stderr = &s.stderr
	var err error
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	t.Cleanup(func() { s.cmd.Process.Kill() })
	return s
}

// patience is far above what any of these takes.
const patience = time.Minute

// next returns the next line of output; false at its end.
func (s *sandbox) next() (string, bool) {
	s.t.Helper()
	return s.nextWithin(patience)
}

func (s *sandbox) nextWithin(d time.Duration) (string, bool) {
	select {
	case line, ok := <-s.lines:
		return line, ok
	case <-time.After(d):
		s.fatal("no output within %v", d)
		return "", false
	}
}

// until collects lines up to one.
func (s *sandbox) until(last string) []string {
	s.t.Helper()
	var out []string
	for {
		line, ok := s.next()
		if !ok {
			s.fatal("ended before %q; it said:\n%s", last, strings.Join(out, "\n"))
		}
		if line == last {
			return out
		}
		out = append(out, line)
	}
}

func (s *sandbox) fatal(format string, args ...any) {
	s.t.Helper()
	s.cmd.Process.Kill()
	s.cmd.Wait()
	s.t.Fatalf(format+"\nstandard error:\n%s", append(args, s.stderr.String())...)
}

// ready collects lines until the guest waits to be looked at, and looks.
func (s *sandbox) ready() []string {
	s.t.Helper()
	out := s.until("ready")
	s.inspect()
	return out
}

// end lets a waiting guest go on to its end and returns the exit status.
func (s *sandbox) end() int {
	s.t.Helper()
	s.stdin.Write([]byte("\n"))
	return s.wait()
}

// wait waits for the end, looks at what is left, and returns the exit status.
func (s *sandbox) wait() int {
	s.t.Helper()
	for {
		if _, ok := s.next(); !ok {
			break
		}
	}
	s.cmd.Wait()
	s.after()
	return harness.ExitStatus(s.cmd.ProcessState)
}

// after checks what a sandbox that has ended leaves behind.
func (s *sandbox) after() {
	s.t.Helper()
	if diff := cmp.Diff(s.before, s.canaries()); diff != "" {
		s.t.Errorf("files on the host have changed:\n%s", diff)
	}
	if strings.Contains(s.stderr.String(), secret) {
		s.t.Errorf("standard error has the host's secret:\n%s", s.stderr.String())
	}
	harness.Fsck(s.t, s.image)
	if s.pid != 0 {
		if comm(s.pid) == launch.Name && !dead(s.pid) {
			s.t.Errorf("the sandbox process %d is still there", s.pid)
		}
	}
}

// canaries reads the directory that the supervisor runs in.
func (s *sandbox) canaries() map[string]string {
	out := map[string]string{}
	err := filepath.WalkDir(s.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		if d.Type().IsRegular() {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			content = string(data)
		}
		rel, _ := filepath.Rel(s.dir, name)
		out[rel] = fmt.Sprintf("%v %q", info.Mode(), content)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// process finds the sandbox process: the supervisor's child.
func (s *sandbox) process() int {
	s.t.Helper()
	if s.pid != 0 {
		return s.pid
	}
	children := childrenOf(s.cmd.Process.Pid)
	if len(children) != 1 {
		if s.cmd.Process.Signal(syscall.Signal(0)) != nil || dead(s.cmd.Process.Pid) {
			return 1<<22 + 1 // it has ended, and so has its sandbox: no process has this number
		}
		s.fatal("the supervisor has %d children, want 1: %v", len(children), children)
	}
	s.pid = children[0]
	return s.pid
}

func childrenOf(parent int) []int {
	var out []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// pid (comm) state ppid; proc_pid_stat(5)
		_, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		if len(f) > 1 && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			out = append(out, pid)
		}
	}
	return out
}

// gone waits until a sandbox process has ended.
func (s *sandbox) gone(pid int) {
	s.t.Helper()
	for end := time.Now().Add(patience); comm(pid) == launch.Name; time.Sleep(5 * time.Millisecond) {
		if dead(pid) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("sandbox process %d outlives its supervisor", pid)
		}
	}
}

// dead tells whether a process has ended and nobody has asked for its status.
func dead(pid int) bool {
	return strings.HasPrefix(status(fmt.Sprintf("/proc/%d/status", pid))["State"], "Z")
}

func comm(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(text))
}

func status(path string) map[string]string {
	out := map[string]string{}
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		k, v, _ := strings.Cut(line, ":")
		out[k] = strings.TrimSpace(v)
	}
	return out
}
