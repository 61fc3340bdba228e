package conformance

import (
	"path/filepath"
	"testing"

	"pinhole/tests/harness"
)

// TestFullDisk: a store into a hole of a mapped file on a full disk is SIGBUS, which a handler gets with the
// address, and which ends the program otherwise.
func TestFullDisk(t *testing.T) {
	pinhole := harness.Pinhole(t)
	guest := harness.GuestCC(t, filepath.Join("full", "full.c"))
	for _, block := range []string{"1024", "4096"} {
		for mode, want := range map[string]int{"handle": 0, "die": 128 + 7} {
			t.Run("block="+block+"/"+mode, func(t *testing.T) {
				img := filepath.Join(t.TempDir(), "disk.img")
				harness.Must(t, harness.Tool(t, "mkfs.ext4", "e2fsprogs"), "-q", "-b", block, img, "32M")
				harness.Must(t, pinhole, "image", "put", img, guest, "/app")
				r := harness.Exec(t, "", "", pinhole, "run", "--image", img, "--cwd", "/", "/app", mode)
				if r.Status != want {
					t.Errorf("exit status %d, want %d\n%s%s", r.Status, want, r.Stdout, r.Stderr)
				}
				harness.Fsck(t, img)
			})
		}
	}
}
