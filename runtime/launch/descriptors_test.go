package launch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRefusedDescriptors: what must not reach a sandbox is refused with its name.
func TestRefusedDescriptors(t *testing.T) {
	open := func(path string, flags int) *os.File {
		f, err := os.OpenFile(path, flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unsealed, err := unix.MemfdCreate("unsealed", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	writable := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(writable, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   int
		file *os.File
		want string
	}{
		{0, open("/dev/null", os.O_RDONLY), "standard input): is a terminal or another character device"},
		{0, open("/", os.O_RDONLY), "is a directory"},
		{0, open("/etc/passwd", unix.O_PATH), "other access"},
		{0, os.NewFile(uintptr(pair[0]), "socket"), "is a socket"},
		{1, os.NewFile(uintptr(pair[1]), "socket"), "is a socket"},
		{1, open("/etc/passwd", os.O_RDONLY), "standard output): is opened for other access"},
		{3, open("/etc/passwd", os.O_RDONLY), "control in): is a regular file"},
		{7, open("/dev/zero", os.O_RDONLY), "is device 1:5"},
		{8, open(writable, os.O_RDWR), "image): is opened for other access"},
		{9, os.NewFile(uintptr(unsealed), "memfd"), "guest memory): is not a memfd sealed"},
	} {
		files, control, status, err := goodFiles()
		if err != nil {
			t.Fatal(err)
		}
		files[c.at] = c.file
		kernel := open("/proc/self/exe", os.O_RDONLY)
		_, err = Start(Spec{Kernel: kernel, Files: files})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("descriptor %d: %v, want %q", c.at, err, c.want)
		}
		for _, f := range append(files[:], control, status, kernel) {
			f.Close()
		}
	}
}
