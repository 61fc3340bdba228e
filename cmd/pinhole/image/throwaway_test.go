package image

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// e2fs runs a program of e2fsprogs on an open image.
func e2fs(t testing.TB, f *os.File, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/sbin/" + name); err != nil {
			t.Skipf("needs %s of e2fsprogs", name)
		}
	}
	cmd := exec.Command(path, append(args, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return out
}

func TestThrowaway(t *testing.T) {
	for _, size := range []int{0, 1, 4096, 100_000, 70 << 20} {
		program := bytes.Repeat([]byte("program\n"), size/8+1)[:size]
		name := filepath.Join(t.TempDir(), "app")
		if err := os.WriteFile(name, program, 0o700); err != nil {
			t.Fatal(err)
		}
		p, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		f, err := Throwaway(p, "/bin/app", 16<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		e2fs(t, f, "e2fsck", "-fn")
		dump := filepath.Join(t.TempDir(), "dump")
		e2fs(t, f, "debugfs", "-R", "dump -p /bin/app "+dump)
		got, err := os.ReadFile(dump)
		if err != nil || !bytes.Equal(got, program) {
			t.Errorf("%d bytes: %v, got %d", size, err, len(got))
		}
		if st, err := os.Stat(dump); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
		if err := f.Truncate(1 << 20); err == nil {
			t.Error("the image can be cut")
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Blocks*512 > int64(size)+256<<10 {
			t.Errorf("takes %d bytes of memory for %d", st.Blocks*512, size)
		}
	}
}

// TestThrowawayCut: the program shrinks while it is copied.
func TestThrowawayCut(t *testing.T) {
	name := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(name, make([]byte, 1<<20+1), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	beforeCopy = func() { p.Truncate(0) }
	defer func() { beforeCopy = func() {} }()
	if f, err := Throwaway(p, "/bin/app", 16<<20); err == nil {
		f.Close()
		t.Error("no error")
	} else {
		t.Log(err)
	}
}

func BenchmarkThrowaway(b *testing.B) {
	p, err := os.Open("/bin/true")
	if err != nil {
		b.Skip(err)
	}
	defer p.Close()
	b.ReportAllocs()
	for b.Loop() {
		f, err := Throwaway(p, "/bin/true", ThrowawayRoom)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
