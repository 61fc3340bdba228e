package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBadKernel: what cannot be executed is an error that says what to do.
func TestBadKernel(t *testing.T) {
	kernel, err := SealedExecutable("kernel", []byte("not a program"))
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
	if _, err := begin(Spec{Kernel: kernel}); err == nil || !strings.Contains(err.Error(), "not a program for this machine") {
		t.Error(err)
	}
	private := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(private, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(private)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := begin(Spec{Kernel: f}); err == nil || !strings.Contains(err.Error(), "must be able to execute") {
		t.Error(err)
	}
}

// TestSealedExecutable: the kernel runs from memory, and nobody can change it.
func TestSealedExecutable(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := SealedExecutable(Name, self)
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
	s, err := begin(Spec{Kernel: kernel})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.enclose(0)
	if err != nil || r.Err != "" {
		t.Fatal(err, r.Err)
	}
	s.end()
	if _, err := unix.FcntlInt(kernel.Fd(), unix.F_ADD_SEALS, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("adding a seal: %v", err)
	}
	if f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", kernel.Fd()), os.O_RDWR, 0); err == nil {
		if _, err := f.Write([]byte{0}); !errors.Is(err, unix.EPERM) {
			t.Errorf("writing to it: %v", err)
		}
		f.Close()
	}
}
