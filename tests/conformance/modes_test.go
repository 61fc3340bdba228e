package conformance

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"pinhole/tests/harness"
)

// TestModes runs the programs about mappings where their pages come from elsewhere, or hardly fit: a
// cache that is smaller than the files, changes that are thrown away, files in memory, and files that were
// there before.
func TestModes(t *testing.T) {
	pinhole := harness.Pinhole(t)
	for _, name := range []string{"mappings", "mapstress", "mapthreads"} {
		guest := harness.GuestCC(t, filepath.Join("src", name+".c"))
		for _, mode := range []struct {
			name string
			args []string
		}{
			{"memory=16M", []string{"--memory", "16M", "--cwd", "/"}},
			{"ephemeral", []string{"--ephemeral", "--cwd", "/"}},
			{"files in memory", []string{"--cwd", "/dev/shm"}},
			{"again", []string{"--cwd", "/"}},
		} {
			t.Run(name+"/"+mode.name, func(t *testing.T) {
				img := harness.Image(t, "64M", map[string]string{"/app": guest})
				for range 2 {
					r := harness.Exec(t, "", "", pinhole, append(append([]string{"run", "--image", img}, mode.args...), "/app")...)
					if r.Status != 0 {
						t.Errorf("exit status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
					}
					harness.Fsck(t, img)
				}
			})
		}
	}
}

// TestSeeds is the long form of the random programs: other seeds, each of which is in the program's output.
func TestSeeds(t *testing.T) {
	if os.Getenv("PINHOLE_LONG") == "" {
		t.Skip("PINHOLE_LONG is not set")
	}
	pinhole := harness.Pinhole(t)
	for _, c := range []struct{ name, steps string }{{"mapstress", "100000"}, {"mapthreads", "20000"}} {
		guest := harness.GuestCC(t, filepath.Join("src", c.name+".c"))
		for _, block := range []string{"1024", "4096"} {
			for _, memory := range []string{"16M", "256M"} {
				t.Run(c.name+"/block="+block+"/memory="+memory, func(t *testing.T) {
					img := filepath.Join(t.TempDir(), "disk.img")
					harness.Must(t, harness.Tool(t, "mkfs.ext4", "e2fsprogs"), "-q", "-b", block, img, "64M")
					harness.Must(t, pinhole, "image", "put", img, guest, "/app")
					for seed := range 10 {
						r := harness.Exec(t, "", "", pinhole, "run", "--memory", memory, "--image", img, "--cwd", "/", "/app", strconv.Itoa(seed+2), c.steps)
						if r.Status != 0 {
							t.Errorf("exit status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
						}
						harness.Fsck(t, img)
					}
				})
			}
		}
	}
}
