// Package golang tests Go programs in sandboxes, end to end: each is built twice from the same source,
// and does natively and in a sandbox the same, to the letter and the exit status.
package golang

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pinhole/shim/nosyscall"
	"pinhole/tests/harness"
)

// built is the directory of the programs: those for the host in native, for the sandbox in guest.
var built = sync.OnceValues(func() (dir string, err error) {
	dir, err = os.MkdirTemp("", "pinhole-golang-")
	if err != nil {
		return "", err
	}
	for _, c := range [][]string{
		{"go", "build", "-o", filepath.Join(dir, "native") + "/", "./..."},
		{filepath.Join(harness.Root(), "build", "bin", "pinhole"), "go", "build", "-o", filepath.Join(dir, "guest") + "/", "./..."},
	} {
		cmd := exec.Command(c[0], c[1:]...)
		cmd.Dir = filepath.Join(harness.Root(), "tests", "golang", "src")
		cmd.Env = harness.GoEnvironment()
		if out, err := cmd.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("%q: %w\n%s", c, err, out)
		}
	}
	return dir, nil
})

// parts returns the program parts.
func parts(t testing.TB) (native, guest string) {
	t.Helper()
	return programs(t, "parts")
}

// programs returns a program of the folder src.
func programs(t testing.TB, name string) (native, guest string) {
	t.Helper()
	harness.Pinhole(t)
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "native", name), filepath.Join(dir, "guest", name)
}

func TestMain(m *testing.M) {
	status := m.Run()
	if dir, _ := built(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(status)
}

// numbers are what differs between two runs: addresses, and what the scheduler makes of them.
var numbers = regexp.MustCompile(`0x[0-9a-f]+`)

// trace is what a crash prints: of it only the messages and the goroutine at fault are compared, as the
// rest depends on what else was just going on.
func trace(s string) string {
	s = numbers.ReplaceAllString(s, "0x")
	head, rest, ok := strings.Cut(s, "\ngoroutine ")
	if !ok {
		return s
	}
	first, _, _ := strings.Cut(rest, "\n\n")
	first = regexp.MustCompile(`^\d+ (gp=\S+ m=\S+ (mp=\S+ )?)?`).ReplaceAllString(first, "")
	// In the runtime itself, how deep a stack is when it overflows depends on the thread.
	return head + "\ngoroutine " + strings.TrimRight(first, "\n")
}

func TestParts(t *testing.T) {
	native, guest := parts(t)
	for _, c := range []struct {
		args  string
		crash bool // the output is a crash's
	}{
		{args: "hello"}, {args: "exit 0"}, {args: "exit 7"}, {args: "exit 255"}, {args: "no-such-part"},
		{args: "args a  b"},
		{args: "collect"}, {args: "goroutines"}, {args: "timers"}, {args: "threads"}, {args: "spin"}, {args: "big"},
		{args: "recover"}, {args: "fault"}, {args: "raw"},
		{args: "nil", crash: true}, {args: "overflow", crash: true}, {args: "deadlock", crash: true},
		{args: "panic", crash: true}, {args: "goroutine-panic", crash: true}, {args: "divide", crash: true},
		{args: "wild", crash: true}, {args: "quit", crash: true},
		{args: "signals"}, {args: "ignore"},
		{args: "files"}, {args: "pipes"}, {args: "deadline"}, {args: "exec"}, {args: "profile cpu.out"},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(c.args)
			want := harness.Exec(t, t.TempDir(), "", native, args...)
			got := harness.Exec(t, "", "", harness.Pinhole(t), append([]string{"run", "-m", "4G", guest}, args...)...)
			if c.crash {
				want.Stderr, got.Stderr = trace(want.Stderr), trace(got.Stderr)
			}
			got.Stderr = ended.ReplaceAllString(got.Stderr, "")
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-native +sandbox)\n%s", d)
			}
		})
	}
}

// TestTraceback: how much of a crash is told, and with which status it ends, GOTRACEBACK says here, too.
func TestTraceback(t *testing.T) {
	native, guest := parts(t)
	for _, level := range []string{"none", "single", "all", "system", "crash", "wer"} {
		for _, part := range []string{"nil", "goroutine-panic", "quit"} {
			t.Run(level+"/"+part, func(t *testing.T) {
				want := harness.Exec(t, t.TempDir(), "", "env", "GOTRACEBACK="+level, native, part)
				got := harness.Exec(t, "", "", harness.Pinhole(t), "run", "--env", "GOTRACEBACK="+level, guest, part)
				got.Stderr = ended.ReplaceAllString(got.Stderr, "")
				// The runtime's own goroutines and the registers, which these levels show, are not compared.
				for _, r := range []*harness.Result{&want, &got} {
					r.Stderr = trace(r.Stderr)
					if i := strings.Index(r.Stderr, "\nruntime stack:"); i >= 0 {
						r.Stderr = r.Stderr[:i]
					}
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("(-native +sandbox)\n%s", d)
				}
			})
		}
	}
}

// ended is what pinhole says of a program that a signal ended, as a shell does.
var ended = regexp.MustCompile(`(?m)^pinhole: .* was ended by .*\n`)

// TestAssembly: what enters the kernel by assembly of its own enters it by the gate, which keeps what a
// SYSCALL keeps.
func TestAssembly(t *testing.T) {
	native, guest := programs(t, "assembly")
	want := harness.Exec(t, "", "", native)
	got := harness.Exec(t, "", "", harness.Pinhole(t), "run", guest)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-native +sandbox)\n%s", d)
	}
	sites, err := nosyscall.GoProgram(guest)
	if err != nil || len(sites) > 0 {
		t.Errorf("%v: %s", err, nosyscall.List(sites))
	}
}

// TestConcurrentMap: fatal errors that nothing can recover from.
func TestConcurrentMap(t *testing.T) {
	_, guest := parts(t)
	r := harness.Exec(t, "", "", harness.Pinhole(t), "run", "--cpus", strconv.Itoa(max(2, runtime.NumCPU())), guest, "concurrent-map")
	if runtime.NumCPU() < 2 {
		t.Skip("needs two processors to happen")
	}
	if r.Status != 2 || !strings.Contains(r.Stderr, "fatal error: concurrent map writes") {
		t.Errorf("status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
}

// TestProcs: GOMAXPROCS is what the sandbox may use.
func TestProcs(t *testing.T) {
	_, guest := parts(t)
	for _, n := range []int{1, runtime.NumCPU()} {
		r := harness.Exec(t, "", "", harness.Pinhole(t), "run", "--cpus", strconv.Itoa(n), guest, "procs")
		if want := fmt.Sprintf("%d %d\n", n, n); r.Status != 0 || r.Stdout != want {
			t.Errorf("--cpus %d: status %d, %q\n%s", n, r.Status, r.Stdout, r.Stderr)
		}
	}
}

// TestNoCalls: a program that was built for Pinhole has no instruction that enters a host kernel, asks for
// no dynamic linker, and says what it is when a host starts it.
func TestNoCalls(t *testing.T) {
	_, guest := parts(t)
	sites, err := nosyscall.GoProgram(guest)
	if err != nil || len(sites) > 0 {
		t.Errorf("%v: %s", err, nosyscall.List(sites))
	}
	r := harness.Exec(t, "", "", guest, "hello")
	if r.Status != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, "pinhole run") {
		t.Errorf("on the host: status %d, %q, %q", r.Status, r.Stdout, r.Stderr)
	}
	// And so it makes none: in the trace, calls by way of traps have that before their names.
	r = harness.Exec(t, "", "", harness.Pinhole(t), "run", "--trace", guest, "goroutines")
	if r.Status != 0 || strings.Contains(r.Stderr, "trap:") || !strings.Contains(r.Stderr, "= thread_futex(") {
		t.Errorf("status %d\n%.4000s", r.Status, r.Stderr)
	}
	if r = harness.Exec(t, "", "", harness.Pinhole(t), "run", "--trace", guest, "raw"); !strings.Contains(r.Stderr, "linux:1000(") || !strings.Contains(r.Stderr, "no such call here") {
		t.Errorf("what has no translation is not in the trace\n%.4000s", r.Stderr)
	}
}

// resident returns how much memory a process and those below it have, in bytes.
func resident(t *testing.T, pid int) (n int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	n = pages * int64(os.Getpagesize())
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		for _, c := range strings.Fields(string(b)) {
			child, _ := strconv.Atoi(c)
			n += resident(t, child)
		}
	}
	return n
}

// TestFree: what the scavenger gives back, the host has back.
func TestFree(t *testing.T) {
	_, guest := parts(t)
	cmd := exec.Command(harness.Pinhole(t), "run", "-m", "1G", guest, "free")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(harness.Timeout, func() { cmd.Process.Kill() })
	defer timer.Stop()
	defer cmd.Wait()
	defer in.Close()
	lines := bufio.NewScanner(out)
	used := map[string]int64{}
	for lines.Scan() {
		used[lines.Text()] = resident(t, cmd.Process.Pid)
		fmt.Fprintln(in)
	}
	const size = 256 << 20
	if used["began"] == 0 || used["taken"] < size || used["freed"] > used["began"]+size/4 {
		t.Errorf("resident: %v", used)
	}
}
