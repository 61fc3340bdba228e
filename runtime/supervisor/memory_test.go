package supervisor

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSealedMemory(t *testing.T) {
	fd, err := sealedMemory("test", 8192)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, size := range []int64{0, 4096, 16384} {
		if err := unix.Ftruncate(fd, size); err != unix.EPERM {
			t.Errorf("resizing to %d: %v, want EPERM", size, err)
		}
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != unix.EPERM {
		t.Errorf("sealing against writing: %v, want EPERM", err)
	}
}

// Giving back what the file has loses nothing of it.
func TestTrim(t *testing.T) {
	text := func() string { return strings.Repeat("the program goes on as before\n", 100) }
	before := text()
	filePages := func() (n int) {
		b, err := os.ReadFile("/proc/self/smaps_rollup")
		if err != nil {
			t.Skip(err)
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "Pss_File:"); ok {
				for _, c := range strings.TrimSpace(strings.TrimSuffix(rest, " kB\n")) {
					n = n*10 + int(c-'0')
				}
			}
		}
		return n
	}
	had := filePages()
	trim()
	if has := filePages(); has >= had {
		t.Errorf("%d kB of the program are mapped, %d were before", has, had)
	}
	if text() != before {
		t.Error("a function does something else now")
	}
}
