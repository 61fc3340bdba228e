package golang

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pinhole/tests/harness"
)

// module writes a module into a directory of its own and returns that.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.com/m\n\ngo 1.25\n"
	harness.WriteFiles(t, dir, files)
	return dir
}

// pinholeGo runs a command of pinhole go in dir.
func pinholeGo(t *testing.T, dir string, args ...string) harness.Result {
	t.Helper()
	return harness.Exec(t, dir, "", harness.Pinhole(t), append([]string{"go"}, args...)...)
}

const echo = `package main

import (
	"fmt"
	"io"
	"os"
)

var set = "not set"

func main() {
	in, _ := io.ReadAll(os.Stdin)
	_, err := os.Stat("given")
	_, image := os.Stat("/in-image")
	fmt.Printf("%q %s %v %v %s %s\n", os.Args[1:], in, err == nil, image == nil, os.Getenv("GIVEN"), set)
	os.Exit(4)
}
`

// TestGoRun: arguments, standard input, environment, files that are given, exit status.
func TestGoRun(t *testing.T) {
	dir := module(t, map[string]string{"main.go": echo, "given": "x"})
	img := harness.Image(t, "64M", map[string]string{"/in-image": filepath.Join(dir, "given")})
	p := harness.Pinhole(t)
	t.Setenv("GIVEN", "from here")
	for _, c := range []struct {
		args, want string
	}{
		{"go run . a -v", `["a" "-v"] input false false  not set`},
		{"go -e GIVEN --import given run -ldflags=-X=main.set=set . -race", `["-race"] input true false from here set`},
		{"go -i " + img + " --env=GIVEN=y -m 512M --cpus 1 run main.go", `[] input false true y not set`},
	} {
		r := harness.Exec(t, dir, "input", p, strings.Fields(c.args)...)
		// go run's status is 1 for any, and it says which.
		if r.Status != 1 || r.Stdout != c.want+"\n" || r.Stderr != "exit status 4\n" {
			t.Errorf("%s: %d %q %q, want %q", c.args, r.Status, r.Stdout, r.Stderr, c.want)
		}
	}
	r := harness.Exec(t, dir, "", p, "go", "--trace=calls", "run", ".")
	if b, err := os.ReadFile(filepath.Join(dir, "calls")); err != nil || r.Status != 1 || !bytes.Contains(b, []byte("proc_exit(4)")) {
		t.Errorf("--trace: %v, %d, %.1000s", err, r.Status, b)
	}
}

// TestGoBuild: what is merged with the user's own, and what is refused.
func TestGoBuild(t *testing.T) {
	dir := module(t, map[string]string{"main.go": "package main\n\nfunc main() { println(\"old\") }\n", "new": "package main\n\nfunc main() { println(\"new\") }\n",
		"overlay.json": `{"Replace": {"main.go": "new"}}`})
	tool := filepath.Join(dir, "tool")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho \"$(basename $1)\" >> "+dir+"/tools\nexec \"$@\"\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	if r := pinholeGo(t, dir, "build", "-overlay=overlay.json", "-toolexec", "'"+tool+"'", "-o", "main", "."); r.Status != 0 {
		t.Fatalf("%d %s%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := harness.Exec(t, dir, "", harness.Pinhole(t), "run", "./main"); r.Status != 0 || r.Stderr != "new\n" {
		t.Errorf("%d %q", r.Status, r.Stderr)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "tools")); !bytes.Contains(b, []byte("link\n")) {
		t.Errorf("the user's toolexec was not called: %s", b)
	}
	for _, flag := range []string{"-overlay", "-toolexec", "-buildmode"} {
		if r := pinholeGo(t, dir, "build", flag); r.Status != 2 || !strings.HasPrefix(r.Stderr, "flag needs an argument: "+flag) {
			t.Errorf("%s without its value: %d %q", flag, r.Status, r.Stderr)
		}
	}
	if r := pinholeGo(t, filepath.Dir(dir), "-C", "x", "build"); r.Status == 0 {
		t.Error("-C of a directory that is not there")
	}
	for _, c := range []struct{ args, want string }{
		{"build -race .", "-race"}, {"test -msan .", "-msan"}, {"build -buildmode=c-shared .", "c-shared"},
		{"build -ldflags=-linkmode=external .", "external"},
	} {
		if r := pinholeGo(t, dir, strings.Fields(c.args)...); r.Status == 0 || !strings.Contains(r.Stderr, c.want) || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%s: %d %q", c.args, r.Status, r.Stderr)
		}
	}
}

// TestFlags: what is wrong with the flags of pinhole go is said before anything is built.
func TestFlags(t *testing.T) {
	dir := t.TempDir() // there is nothing to build
	for _, c := range []struct{ args, want string }{
		{"-i none.img run .", "image none.img: no such file"},
		{"-i . run .", "image .: is a directory"},
		{"-I none run .", "--import"},
		{"-u somebody test ./...", "--user somebody is not"},
		{"-e =x run .", "names no variable"},
		{"-m 1 run .", "--memory 1 is too little"},
		{"--trace=none/calls run .", "--trace"},
	} {
		if r := pinholeGo(t, dir, strings.Fields(c.args)...); r.Status != 125 || !strings.Contains(r.Stderr, c.want) || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%s: %d %q, want a line with %q", c.args, r.Status, r.Stderr, c.want)
		}
	}
}

// TestFlagPaths: paths in flags are from where pinhole go is called, though tests run in their packages' directories;
// and the trace has the calls of all of them.
func TestFlagPaths(t *testing.T) {
	const test = "package p\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestIt(t *testing.T) {\n" +
		"\tfor _, name := range []string{\"/in-image\", \"../../given\"} {\n\t\tif _, err := os.Stat(name); err != nil {\n\t\t\tt.Error(err)\n\t\t}\n\t}\n}\n"
	dir := module(t, map[string]string{"m/p/p_test.go": test, "m/q/q_test.go": test, "given": "x"})
	if err := os.Rename(filepath.Join(dir, "go.mod"), filepath.Join(dir, "m", "go.mod")); err != nil {
		t.Fatal(err)
	}
	img, err := filepath.Rel(dir, harness.Image(t, "64M", map[string]string{"/in-image": filepath.Join(dir, "given")}))
	if err != nil {
		t.Fatal(err)
	}
	r := pinholeGo(t, dir, "-i", img, "-I", "given", "--trace=calls", "-C", "m", "test", "./...")
	if r.Status != 0 {
		t.Errorf("%d %s%s", r.Status, r.Stdout, r.Stderr)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "calls")); err != nil || bytes.Count(b, []byte("proc_exit(0)")) != 2 {
		t.Errorf("--trace: %v, %d programs have ended", err, bytes.Count(b, []byte("proc_exit(0)")))
	}
}

// TestOlderRelease: the Go release before, which the go command has downloaded.
func TestOlderRelease(t *testing.T) {
	const older = "go1.25.5"
	dir := module(t, map[string]string{"main.go": "package main\n\nimport (\n\t\"fmt\"\n\t\"runtime\"\n\t\"time\"\n)\n\n" +
		"func main() { time.Sleep(1); runtime.GC(); fmt.Println(runtime.Version()) }\n"})
	t.Setenv("GOTOOLCHAIN", older)
	if r := harness.Exec(t, dir, "", "go", "version"); r.Status != 0 {
		t.Skipf("%s cannot be had from the module proxy: %s", older, r.Stderr)
	}
	if r := pinholeGo(t, dir, "run", "."); r.Status != 0 || r.Stdout != older+"\n" {
		t.Errorf("%d %q %q", r.Status, r.Stdout, r.Stderr)
	}
}

// TestInterrupt: an interrupt of the terminal ends what runs, and everything that was started for it; so
// does a signal to pinhole alone, whatever the program is about, and however it is meant to end.
func TestInterrupt(t *testing.T) {
	const waits = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"here\"); select {} }\n" +
		"\nfunc init() { go func() { select {} }(); c := make(chan int); go func() { for { select { case c <- 1: } } }(); go func() { for range c { } }() }\n"
	const deaf = "package main\n\nimport (\n\t\"fmt\"\n\t\"os/signal\"\n\t\"syscall\"\n)\n\nfunc main() {\n" +
		"\tsignal.Ignore(syscall.SIGTERM, syscall.SIGINT)\n\tgo func() { for { } }()\n\tfmt.Println(\"here\")\n\tfor { syscall.Getppid() }\n}\n"
	for _, c := range []struct {
		name, source string
		signal       syscall.Signal
		group        bool
	}{
		{"terminal", waits, syscall.SIGINT, true},
		{"terminated", deaf, syscall.SIGTERM, false},
		{"hung up", waits, syscall.SIGHUP, false},
		{"killed", deaf, syscall.SIGKILL, false},
	} {
		t.Run(c.name, func(t *testing.T) { interrupt(t, c.source, c.signal, c.group) })
	}
}

func interrupt(t *testing.T, source string, s syscall.Signal, group bool) {
	cmd := exec.Command(harness.Pinhole(t), "go", "run", ".")
	cmd.Dir = module(t, map[string]string{"main.go": source})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	timer := time.AfterFunc(harness.Timeout, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	line := make([]byte, 5)
	if _, err := out.Read(line); err != nil || string(line) != "here\n" {
		t.Errorf("%q, %v", line, err)
	}
	to := cmd.Process.Pid
	if group {
		to = -to
	}
	if err := syscall.Kill(to, s); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it has ended well")
	} else if s == syscall.SIGTERM && cmd.ProcessState.ExitCode() != 128+int(s) {
		t.Errorf("exit status %d", cmd.ProcessState.ExitCode())
	}
	// A process that is left would be of the group.
	for range 100 {
		if err := syscall.Kill(-cmd.Process.Pid, 0); err == syscall.ESRCH {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("processes are left")
}
