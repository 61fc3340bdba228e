// Package conformance runs the same C programs natively, which proves what they expect, and
// in the sandbox on an image, which must agree.
package conformance

import (
	"path/filepath"
	"strings"
	"testing"

	"pinhole/tests/harness"
)

func programs(t *testing.T) []string {
	t.Helper()
	src, err := filepath.Glob("src/*.c")
	if err != nil || len(src) == 0 {
		t.Fatalf("no programs in src: %v", err)
	}
	return src
}

func name(src string) string { return strings.TrimSuffix(filepath.Base(src), ".c") }

func TestNative(t *testing.T) {
	for _, src := range programs(t) {
		t.Run(name(src), func(t *testing.T) {
			r := harness.Exec(t, t.TempDir(), "", harness.NativeCC(t, src))
			if r.Status != 0 {
				t.Errorf("exit status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
			}
		})
	}
}

func TestPinhole(t *testing.T) {
	for _, src := range programs(t) {
		for _, block := range []string{"1024", "4096"} {
			t.Run(name(src)+"/block="+block, func(t *testing.T) {
				pinhole := harness.Pinhole(t)
				guest := harness.GuestCC(t, src)
				img := filepath.Join(t.TempDir(), "disk.img")
				harness.Must(t, harness.Tool(t, "mkfs.ext4", "e2fsprogs"), "-q", "-b", block, img, "64M")
				harness.Must(t, pinhole, "image", "put", img, guest, "/app")
				r := harness.Exec(t, "", "", pinhole, "run", "--image", img, "--cwd", "/", "/app")
				if r.Status != 0 {
					t.Errorf("exit status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
				}
				harness.Fsck(t, img)
			})
		}
	}
}
