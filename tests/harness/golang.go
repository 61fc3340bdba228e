package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// GoEnvironment is what tests run a go command with: the tests' own environment, but no cgo and no flags of
// the user's.
func GoEnvironment() []string { return append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=") }

// GOROOT returns where the installed Go is.
func GOROOT(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(Must(t, "go", "env", "GOROOT"))
}

// Go runs a go command, {"go"} or that of pinhole with its flags, in dir ("" for the test's own). It has to
// succeed, however long it takes.
func Go(t testing.TB, dir string, goCommand []string, args ...string) {
	t.Helper()
	line := slices.Concat(goCommand, args)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir, cmd.Env = dir, GoEnvironment()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", line, err, out)
	}
}

// GoInstallation makes a Go installation at root, from the installed one, with these of its programs ("go",
// "compile" and so on), built by a go command: with that of pinhole, they run in a sandbox. It finds itself
// wherever it is moved.
func GoInstallation(t testing.TB, root string, goCommand []string, programs ...string) {
	t.Helper()
	from, bin, tools := GOROOT(t), filepath.Join(root, "bin"), filepath.Join(root, "pkg", "tool", "linux_amd64")
	for _, dir := range []string{bin, tools} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"src", "lib", "pkg/include", "VERSION", "go.env"} {
		Must(t, "cp", "-a", filepath.Join(from, name), filepath.Join(root, name))
	}
	for _, p := range programs {
		to := tools
		if p == "go" || p == "gofmt" {
			to = bin
		}
		Go(t, filepath.Join(from, "src"), goCommand, "build", "-trimpath", "-o", filepath.Join(to, p), "cmd/"+p)
	}
}

// GoTestEvent is a line of go test -json (go doc test2json).
type GoTestEvent struct {
	Action, Package, Test, Output string
	Elapsed                       float64 // seconds
}

// GoTest runs a command that prints such lines to its end, which may be a bad one, and has each looked at,
// as it comes. It returns what was on standard error.
func GoTest(t testing.TB, cmd *exec.Cmd, each func(GoTestEvent)) (stderr string) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var e GoTestEvent
		if json.Unmarshal(line, &e) == nil && e.Package != "" {
			each(e)
		}
	}
	cmd.Wait() // that a test fails is in the events
	return said.String()
}
