package abi

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
)

// TestErrnos compares names and texts with what the standard library knows of the same numbers.
func TestErrnos(t *testing.T) {
	named := 0
	for n := 1; n < len(errnos); n++ {
		e := Errno(n)
		if errnos[n].name == "" {
			continue
		}
		named++
		if text := syscall.Errno(n).Error(); e.Error() != text {
			t.Logf("%d %v: %q, and %q in package syscall", n, e, e.Error(), text)
		}
	}
	if named < 130 {
		t.Errorf("only %d errors have names", named)
	}
	for _, c := range []struct {
		e          Errno
		name, text string
	}{
		{0, "OK", "success"}, {ENOENT, "ENOENT", "no such file or directory"}, {EAGAIN, "EAGAIN", "resource temporarily unavailable"},
		{EHWPOISON, "EHWPOISON", "memory page has hardware error"}, {41, "errno 41", "unknown error 41"}, {4000, "errno 4000", "unknown error 4000"},
	} {
		if c.e.String() != c.name || c.e.Error() != c.text {
			t.Errorf("%d: %q %q, want %q %q", int(c.e), c.e.String(), c.e.Error(), c.name, c.text)
		}
	}
	if !errors.Is(ENOENT, fs.ErrNotExist) || !errors.Is(EEXIST, fs.ErrExist) || !errors.Is(EACCES, fs.ErrPermission) || errors.Is(EIO, fs.ErrNotExist) {
		t.Error("io/fs's errors are not known")
	}
}

func TestResults(t *testing.T) {
	for _, c := range []struct {
		v uint64
		e Errno
		r int64
	}{{5, 0, 5}, {0, ENOENT, -2}, {1<<64 - 4096, 0, -4096}, {0, 4095, -4095}, {1 << 63, 0, -1 << 63}} {
		if r := Result(c.v, c.e); r != c.r {
			t.Errorf("%d %v: %d, want %d", c.v, c.e, r, c.r)
		}
		if v, e := Split(c.r); v != c.v || e != c.e {
			t.Errorf("%d: %d %v, want %d %v", c.r, v, e, c.v, c.e)
		}
	}
}
