// Package harness is what the end-to-end tests share: finding the built tools, building C
// programs for the host and for Pinhole, making images, running programs, checking images.
package harness

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Timeout ends a program that hangs; far above what any test needs.
const Timeout = 3 * time.Minute

// Root returns the top folder of the checkout.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Pinhole returns the path of the built pinhole command, or skips the test and says what builds it.
func Pinhole(t testing.TB) string {
	t.Helper()
	p := filepath.Join(Root(), "build", "bin", "pinhole")
	if _, err := os.Stat(p); err != nil {
		t.Skipf("build/bin/pinhole is not built: run 'go run ./cmd/dev build'")
	}
	return p
}

// Sysroot skips the test when the libc back-end is not built.
func Sysroot(t testing.TB) string {
	t.Helper()
	p := filepath.Join(Root(), "build", "sysroot")
	if _, err := os.Stat(filepath.Join(p, "lib", "libc.a")); err != nil {
		t.Skipf("build/sysroot is not built: run 'go run ./cmd/dev build'")
	}
	return p
}

// Tool returns a host program's path, or skips the test and names the Debian package that has it.
func Tool(t testing.TB, name, debian string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return filepath.Join(dir, name)
			}
		}
		t.Skipf("%s is not installed (Debian package %s)", name, debian)
	}
	return p
}

// Result is how a program ended.
type Result struct {
	Status int // exit status; 128+N for signal N; -1 when it had to be killed after Timeout
	Stdout string
	Stderr string
}

var layers = regexp.MustCompile(`(?m)^pinhole: this host does not offer all protections around the lock; missing: .*\n`)

// Messages is a text of standard error without the line that pinhole writes at each run on a
// host that forbids some of the second layer, as containers do: the tests are to hold there,
// too. Results have it left out already.
func Messages(stderr string) string { return layers.ReplaceAllString(stderr, "") }

// Exec runs a command to its end in dir ("" for the test's own).
func Exec(t testing.TB, dir string, stdin string, name string, args ...string) Result {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = 10 * time.Second // a process that it left behind may hold its output
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	timer := time.AfterFunc(Timeout, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	r := Result{Stdout: out.String(), Stderr: Messages(errs.String())}
	if !timer.Stop() {
		r.Status = -1
		return r
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", name, err)
	}
	r.Status = ExitStatus(cmd.ProcessState)
	return r
}

// Must is Exec for commands whose failure ends the test.
func Must(t testing.TB, name string, args ...string) string {
	t.Helper()
	r := Exec(t, "", "", name, args...)
	if r.Status != 0 {
		t.Fatalf("%s %s: exit status %d\n%s%s", name, strings.Join(args, " "), r.Status, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

var compile sync.Mutex // one compiler at a time: two cores are all there is

// NativeCC builds a C program for the host and returns its path.
func NativeCC(t testing.TB, src string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "native")
	compile.Lock()
	defer compile.Unlock()
	Must(t, Tool(t, "cc", "gcc"), append([]string{"-O2", "-w", "-o", out, src, "-pthread", "-lm"}, flags...)...)
	return out
}

// GuestCC builds a C program for Pinhole with 'pinhole cc' and returns its path.
func GuestCC(t testing.TB, src string, flags ...string) string {
	t.Helper()
	Sysroot(t)
	out := filepath.Join(t.TempDir(), "guest")
	pinhole := Pinhole(t)
	compile.Lock()
	defer compile.Unlock()
	Must(t, pinhole, append([]string{"cc", "-O2", "-w", "-o", out, src, "-pthread", "-lm"}, flags...)...)
	return out
}

// Image makes an image of the given size ("64M") with host files in it: path in image -> host path.
func Image(t testing.TB, size string, files map[string]string) string {
	t.Helper()
	pinhole := Pinhole(t)
	img := filepath.Join(t.TempDir(), "disk.img")
	Must(t, pinhole, "image", "create", "--size", size, img)
	for to, from := range files {
		Must(t, pinhole, "image", "put", img, from, to)
	}
	return img
}

// Fsck fails the test unless e2fsck finds nothing to say about the image.
func Fsck(t testing.TB, image string) {
	t.Helper()
	r := Exec(t, "", "", Tool(t, "e2fsck", "e2fsprogs"), "-fn", image)
	if r.Status != 0 {
		t.Errorf("e2fsck -fn %s: exit status %d\n%s%s", image, r.Status, r.Stdout, r.Stderr)
	}
}
