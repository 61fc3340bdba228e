package emu

import (
	"testing"

	"pinhole/abi"
)

func TestFileRead(t *testing.T) {
	w := newIOWorld(t, Config{})
	fd := w.open("f", abi.O_CREAT|abi.O_RDWR)
	if n := w.ok(w.fileWrite(fd, w.mem.bytes("hello"), 5)); n != 5 {
		t.Fatal(n)
	}
	p, a := w.mem.alloc(16)
	if n := w.ok(w.filePread(fd, a, 16, 1)); n != 4 || string(p[:4]) != "ello" {
		t.Fatalf("%d %q", n, p)
	}
}
