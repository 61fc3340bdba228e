package escape

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pinhole/runtime/launch"
	"pinhole/shim/golang/host"
	"pinhole/tests/harness"
)

var hostileBuild struct {
	sync.Once
	dir string
	err string
}

// hostile builds a pinhole whose kernel is the hostile one, and returns its path.
func hostile(t *testing.T) string {
	t.Helper()
	harness.Pinhole(t)
	hostileBuild.Do(func() {
		dir, err := os.MkdirTemp("", "hostile")
		if err != nil {
			hostileBuild.err = err.Error()
			return
		}
		hostileBuild.dir = dir
		goroot, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			hostileBuild.err = err.Error()
			return
		}
		overlay, err := host.Generate(strings.TrimSpace(string(goroot)), filepath.Join(dir, "overlay"))
		if err != nil {
			hostileBuild.err = err.Error()
			return
		}
		for _, args := range [][]string{
			append(host.Arguments(overlay, ""), "-o", filepath.Join(dir, launch.Name), "./tests/escape/hostile"),
			{"-o", filepath.Join(dir, "pinhole"), "./cmd/pinhole"},
		} {
			cmd := exec.Command("go", append([]string{"build"}, args...)...)
			cmd.Dir = harness.Root()
			cmd.Env = append(os.Environ(), host.Environment...)
			if out, err := cmd.CombinedOutput(); err != nil {
				hostileBuild.err = string(out)
				return
			}
		}
		// The sandbox is another user, who must be able to execute it.
		os.Chmod(dir, 0o755)
	})
	if hostileBuild.err != "" {
		t.Fatalf("building the hostile kernel: %s", hostileBuild.err)
	}
	return filepath.Join(hostileBuild.dir, "pinhole")
}

// takeOver runs an act of the hostile kernel.
func takeOver(t *testing.T, act string, args ...string) *sandbox {
	t.Helper()
	pinhole := hostile(t)
	image := filepath.Join(t.TempDir(), "disk.img")
	harness.Must(t, harness.Tool(t, "mkfs.ext4", "e2fsprogs"), "-q", image, "32M")
	return startCommand(t, pinhole, image, []string{"/" + act}, args...)
}

// tried checks that the kernel has gone through its act and has found nothing.
func tried(t *testing.T, s *sandbox, least int) {
	t.Helper()
	if status := s.wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	text := s.stderr.String()
	_, count, ok := strings.Cut(strings.TrimSpace(text), "tried ")
	if n, err := strconv.Atoi(count); !ok || err != nil || n < least {
		t.Errorf("the hostile kernel reports:\n%.3000s", text)
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "returned") {
			t.Errorf("got through: %s", line)
		}
	}
}

func TestHostileCalls(t *testing.T) {
	tried(t, takeOver(t, "calls", "@canary@/../made"), 10000)
}

func TestHostileAliases(t *testing.T) {
	tried(t, takeOver(t, "aliases"), 10000)
}

func TestHostileInt80(t *testing.T) {
	tried(t, takeOver(t, "int80"), 510)
}

// TestHostileRing: forged disk requests are refused and counted; the image keeps its size and
// its file system, and the host no file that it did not have.
func TestHostileRing(t *testing.T) {
	for seed := range 3 {
		s := takeOver(t, "ring", strconv.Itoa(seed))
		before, err := os.Stat(s.image)
		if err != nil {
			t.Fatal(err)
		}
		status := s.wait()
		after, err := os.Stat(s.image)
		if err != nil {
			t.Fatal(err)
		}
		if before.Size() != after.Size() {
			t.Errorf("the image's size was %d and is %d", before.Size(), after.Size())
		}
		text := s.stderr.String()
		if !strings.Contains(text, "malformed disk requests") {
			t.Errorf("seed %d: exit status %d, no word of forged requests:\n%s", seed, status, text)
		}
		wellAfter(t, s)
	}
}

func TestHostileTail(t *testing.T) {
	s := takeOver(t, "tail")
	t.Logf("exit status %d: %.300s", s.wait(), s.stderr.String())
	wellAfter(t, s)
}

// wellAfter: whatever the sandbox did, the supervisor itself is sound.
func wellAfter(t *testing.T, s *sandbox) {
	t.Helper()
	text := s.stderr.String()
	if strings.Contains(text, "panic:") || strings.Contains(text, "goroutine ") || strings.Contains(text, "fatal error:") {
		t.Errorf("the supervisor has crashed:\n%.3000s", text)
	}
	if strings.ContainsRune(text, '\x1b') {
		t.Error("an escape sequence has reached the terminal")
	}
}

func TestHostileFrames(t *testing.T) {
	for seed := range 8 {
		s := takeOver(t, "frames", strconv.Itoa(seed))
		status := s.wait()
		wellAfter(t, s)
		t.Logf("exit status %d", status)
	}
}

// TestHostileFlood: what a sandbox has the supervisor print of itself is bounded.
func TestHostileFlood(t *testing.T) {
	s := takeOver(t, "flood")
	s.wait()
	wellAfter(t, s)
	if n := len(s.stderr.String()); n > 256<<10 {
		t.Errorf("%d bytes of messages", n)
	}
}

// TestHostileSilence: a kernel that is deaf to the supervisor ends with it.
func TestHostileSilence(t *testing.T) {
	s := takeOver(t, "silence")
	for end := time.Now().Add(patience); len(childrenOf(s.cmd.Process.Pid)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.fatal("no sandbox process")
		}
	}
	pid := s.process()
	for range 100 { // more than anybody waits for
		s.cmd.Process.Signal(syscall.SIGTERM)
	}
	s.cmd.Process.Kill()
	s.cmd.Wait()
	s.gone(pid)
	wellAfter(t, s)
}

// TestHostileMemory: the host gives no more than the sandbox was to have, and its kernel's
// own share.
func TestHostileMemory(t *testing.T) {
	pinhole := hostile(t)
	image := filepath.Join(t.TempDir(), "disk.img")
	harness.Must(t, harness.Tool(t, "mkfs.ext4", "e2fsprogs"), "-q", image, "32M")
	s := startCommand(t, pinhole, image, []string{"--memory", "64M", "/memory"})
	s.stdin.Close() // it waits for that once it has got no more, where no cgroup ends it before
	s.wait()
	wellAfter(t, s)
	text := s.stderr.String()
	_, count, ok := strings.Cut(text, "megabytes ")
	switch n, err := strconv.Atoi(strings.TrimSpace(count)); {
	case ok && err == nil && n <= 64+1024:
	case strings.Contains(text, "killed (SIGKILL)"): // by its cgroup
	default:
		t.Errorf("%s", text)
	}
	t.Logf("%s", text)
}

func TestHostileGone(t *testing.T) {
	s := takeOver(t, "gone")
	status := s.wait()
	if status != 70 || !strings.Contains(s.stderr.String(), "without a word") {
		t.Errorf("exit status %d\n%s", status, s.stderr.String())
	}
}
