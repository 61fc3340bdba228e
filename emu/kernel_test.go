package emu

import (
	"strings"
	"testing"
)

// TestKernelBug: a panic in a handler is told with its trace, and nothing goes on.
func TestKernelBug(t *testing.T) {
	told := ""
	w := newIOWorld(t, Config{Fatal: func(trace string) { told = trace; panic("the end") }})
	defer func() {
		if r := recover(); r != "the end" {
			t.Errorf("went on: %v", r)
		}
		if !strings.Contains(told, "out of range") || !strings.Contains(told, "TestKernelBug") {
			t.Errorf("trace: %s", told)
		}
	}()
	defer w.failure()
	var list []int
	_ = list[len(told)]
}

// TestKernelExitOnce: the process ends with the status of whoever ended it first.
func TestKernelExitOnce(t *testing.T) {
	w := newIOWorld(t, Config{})
	if !w.proc.exit(exited(3)) || w.proc.exit(exited(4)) {
		t.Error("a process ends twice")
	}
	if w.proc.status != exited(3) {
		t.Errorf("status %d", w.proc.status)
	}
}
