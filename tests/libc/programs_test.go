package libc

import (
	"path/filepath"
	"strings"
	"testing"

	"pinhole/tests/harness"
)

// programs are C programs that check themselves; they exit with 0 when they find everything as
// it should be.
func programs(t *testing.T) []string {
	t.Helper()
	src, err := filepath.Glob("src/*.c")
	if err != nil || len(src) == 0 {
		t.Fatalf("no programs in src: %v", err)
	}
	return src
}

func each(t *testing.T, run func(t *testing.T, src string) harness.Result) {
	for _, src := range programs(t) {
		t.Run(strings.TrimSuffix(filepath.Base(src), ".c"), func(t *testing.T) {
			if r := run(t, src); r.Status != 0 {
				t.Errorf("exit status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
			}
		})
	}
}

// TestHost runs the programs with the host's own C library: it shows that what they expect is right.
func TestHost(t *testing.T) {
	each(t, func(t *testing.T, src string) harness.Result {
		return harness.Exec(t, t.TempDir(), "", harness.NativeCC(t, src))
	})
}

// TestNativeGate runs them with our C library, where a gate made of the host's calls stands for
// the kernel: it shows that the library and its entry layer are right, whatever the kernel does.
func TestNativeGate(t *testing.T) {
	each(t, func(t *testing.T, src string) harness.Result {
		return harness.Exec(t, t.TempDir(), "", harness.GuestCC(t, src, "--native"))
	})
}

// TestSandbox runs them where they belong.
func TestSandbox(t *testing.T) {
	each(t, func(t *testing.T, src string) harness.Result {
		img := harness.Image(t, "64M", map[string]string{"/app": harness.GuestCC(t, src)})
		r := harness.Exec(t, "", "", harness.Pinhole(t), "run", "--image", img, "--cwd", "/", "/app")
		harness.Fsck(t, img)
		return r
	})
}
