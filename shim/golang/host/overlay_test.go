package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pinhole/tests/harness"
)

func TestGenerate(t *testing.T) {
	dir := t.TempDir()
	list, err := Generate(harness.GOROOT(t), filepath.Join(dir, "overlay"))
	if err != nil {
		t.Fatal(err)
	}
	stamp := func() (s []string) {
		names, _ := filepath.Glob(filepath.Join(dir, "overlay", "*"))
		for _, n := range names {
			i, err := os.Stat(n)
			if err != nil {
				t.Fatal(err)
			}
			s = append(s, n, i.ModTime().String())
		}
		return s
	}
	before := stamp()
	if len(before) != 2*(len(changes.Changes)+len(changes.Added)+2) {
		t.Errorf("overlay holds %q", before)
	}
	if _, err := Generate(harness.GOROOT(t), filepath.Join(dir, "overlay")); err != nil {
		t.Fatal(err)
	}
	if after := stamp(); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("a second run writes files again: %q, then %q", before, after)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", list, "-o", filepath.Join(dir, "main"), filepath.Join(dir, "main.go"))
	cmd.Env = harness.GoEnvironment()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	out, err := exec.Command(filepath.Join(dir, "main")).CombinedOutput()
	if err != nil || string(out) != "done\n" {
		t.Errorf("program on the overlay: %v, output %q", err, out)
	}
}

// program uses what the overlay changes.
const program = `package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

func main() {
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for range 20 {
				time.Sleep(time.Millisecond)
				_ = make([]byte, 100000)
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	debug.FreeOSMemory()
	fmt.Println("done")
}
`

func TestUnknownVersion(t *testing.T) {
	root := t.TempDir()
	src := filepath.Join(root, "src")
	if err := os.MkdirAll(src, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Generate(root, filepath.Join(root, "out")); err == nil || !strings.Contains(err.Error(), "no Go installation") {
		t.Errorf("Generate without VERSION: %v", err)
	}
	os.WriteFile(filepath.Join(root, "VERSION"), []byte("go9.99\ntime x\n"), 0o666)
	for _, c := range changes.Changes {
		old, err := os.ReadFile(filepath.Join(harness.GOROOT(t), "src", c.File))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(src, c.File)
		os.MkdirAll(filepath.Dir(to), 0o777)
		os.WriteFile(to, old, 0o666)
	}
	if _, err := Generate(root, filepath.Join(root, "out")); err != nil {
		t.Fatalf("Generate from a copy: %v", err)
	}
	for _, c := range []struct{ file, old, new, want string }{
		{"runtime/sys_linux_amd64.s", "MOVL\t$SYS_futex", "MOVQ\t$SYS_futex", "function futex does not load"},
		{"syscall/zsyscall_linux_amd64.go", "Syscall(SYS_WRITE", "Syscall(SYS_PWRITE", "found no place that makes SYS_WRITE"},
		{"runtime/sys_linux_amd64.s", "·usleep(SB)", "·microsleep(SB)", "found 0 functions usleep"},
		{"runtime/netpoll_epoll.go", "func netpollBreak()", "func netpollBreak(x int)", "unknown func netpollBreak(x int)"},
		{"runtime/cgroup_linux.go", "func defaultGOMAXPROCSInit()", "func defaultProcsInit()", "no func defaultGOMAXPROCSInit()"},
		{"runtime/proc.go", "newm(sysmon, nil, -1)", "newm(sysmon, nil, 0)", "found 0 places where the monitor is started"},
		{"runtime/proc.go", "nmp := mget()", "nmp := mtake()", "found 0 places where an idle thread is taken"},
		{"runtime/proc.go", "sched.midle.push(", "sched.midle.put(", "found 0 places where a thread becomes idle"},
		{"runtime/runtime1.go", "parsegodebug(godebug, nil)", "parseit(godebug)", "found 0 places"},
		{"runtime/runtime1.go", `"decoratemappings"`, `"decorate"`, "no setting decoratemappings"},
	} {
		path := filepath.Join(src, c.file)
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(path, []byte(strings.ReplaceAll(string(old), c.old, c.new)), 0o666)
		_, err = Generate(root, filepath.Join(root, "out"))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "go9.99") {
			t.Errorf("Generate with %s changed: %v; want an error with %q and the version", c.file, err, c.want)
		}
		os.WriteFile(path, old, 0o666)
	}
}
