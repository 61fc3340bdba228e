package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pinhole/fs/vfs/vfstest"
	"pinhole/tests/harness"
	"pinhole/tests/harness/hostfs"
)

// TestGuest runs the same program, which does random operations in several threads, real mappings
// among them, on an image in a sandbox and natively on the host's ext4. Both must print the same,
// and leave the same tree.
func TestGuest(t *testing.T) {
	pinhole := harness.Pinhole(t)
	src := filepath.Join("src", "stress.c")
	guest := harness.GuestCC(t, src)
	native := harness.NativeCC(t, src)
	for _, c := range []struct {
		kind   kind
		memory string
	}{
		{kind: stock4k}, {kind: stock1k}, {kind: own}, {kind: noJournal},
		// So little memory that files do not fit in the cache.
		{kind: stock4k, memory: "64M"},
	} {
		t.Run(c.kind.name+c.memory, func(t *testing.T) {
			if testing.Short() && !long && c.kind.name != "4k" {
				t.Skip("short test")
			}
			for i := range uint64(amount(1, 8)) {
				seed, operations := firstSeed()+200+i, amount(4000, 12000)
				t.Logf("seed %d: stress DIR %d %d 4", seed, seed, operations)
				stress(t, pinhole, native, guest, c.kind, c.memory, seed, operations)
				if t.Failed() {
					break
				}
			}
		})
	}
}

func stress(t *testing.T, pinhole, native, guest string, k kind, memory string, seed uint64, operations int) {
	dir := t.TempDir()
	args := []string{fmt.Sprint(seed), fmt.Sprint(operations), "4"}
	k.size, k.name = "256M", k.name+"-guest"

	// The host's.
	root := filepath.Join(dir, "host")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := canMount(); err == nil {
		img := filepath.Join(dir, "host.img")
		if err := save(img, stock4kGuest.image(t)); err != nil {
			t.Fatal(err)
		}
		if err := loopMount(img, root, "rw"); err != nil {
			t.Fatal(err)
		}
		defer harness.Unmount(root)
	} else {
		t.Logf("%v: a directory of the host's stands for its ext4", err)
	}
	want := harness.Exec(t, "", "", native, append([]string{filepath.Join(root, vfstest.JailDir)}, args...)...)
	if want.Status != 0 {
		t.Fatalf("natively: exit status %d\n%s%s", want.Status, want.Stdout, want.Stderr)
	}

	// Ours.
	img := filepath.Join(dir, "disk.img")
	if err := save(img, k.image(t)); err != nil {
		t.Fatal(err)
	}
	harness.Must(t, pinhole, "image", "put", img, guest, "/stress")
	run := []string{"run", "--image", img, "--cwd", "/"}
	if memory != "" {
		run = append(run, "--memory", memory)
	}
	run = append(run, "/stress", "/"+vfstest.JailDir)
	got := harness.Exec(t, "", "", pinhole, append(run, args...)...)
	if got.Status != 0 {
		t.Errorf("in the sandbox: exit status %d\n%s%s", got.Status, tail(got.Stdout), got.Stderr)
	}
	if a, b := sorted(got.Stdout), sorted(want.Stdout); !slices.Equal(a, b) {
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Errorf("in the sandbox: %s\nnatively:       %s", a[i], b[i])
				break
			}
		}
		t.Errorf("%d lines in the sandbox, %d natively", len(a), len(b))
	}
	harness.Fsck(t, img)
	if canMount() != nil || t.Failed() {
		return
	}
	at := filepath.Join(dir, "at")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := loopMount(img, at, "ro"); err != nil {
		t.Fatalf("the host does not mount the image: %v", err)
	}
	defer harness.Unmount(at)
	// To read a file would give it an access time by the host's clock, and its other names would show that.
	if err := remountReadOnly(root); err != nil {
		t.Fatal(err)
	}
	same(t, "what the host reads", hostDump(t, at), hostDump(t, root))
}

// stock4kGuest is the image of the host's side.
var stock4kGuest = kind{name: "4k-guest", size: "256M", mkfs: []string{"-b", "4096"}, block: 4096}

// hostDump lists what a run has left below a directory of the host, but for the names that threads
// have fought over.
func hostDump(t *testing.T, root string) []string {
	t.Helper()
	s := hostfs.New(t, filepath.Join(root, vfstest.JailDir))
	defer s.Close()
	list, e := vfstest.Dump(s, false)
	if e != 0 {
		t.Fatalf("reading %s: %s", root, e.String())
	}
	return slices.DeleteFunc(list, func(line string) bool { return strings.HasPrefix(line, "./shared") })
}

func sorted(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return lines
}

func tail(text string) string { return text[max(len(text)-2000, 0):] }
