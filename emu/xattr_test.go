package emu

import (
	"strings"
	"testing"

	"pinhole/abi"
)

func TestXattr(t *testing.T) {
	w := newIOWorld(t, Config{})
	fd := w.open("f", abi.O_CREAT|abi.O_RDWR)
	f, name := w.mem.str("f"), w.mem.str("user.name")
	w.ok(w.pathSymlink(w.mem.str("f"), abi.AT_FDCWD, w.mem.str("l")))
	w.ok(w.xattrSet(w.mem.str("l"), name, w.mem.bytes("value"), 5, abi.XATTR_CREATE, 0))
	w.fails(abi.EEXIST)(w.xattrSet(f, name, w.mem.bytes("value"), 5, abi.XATTR_CREATE, 0))
	w.fails(abi.ENODATA)(w.xattrSet(f, w.mem.str("user.b"), w.mem.bytes("value"), 5, abi.XATTR_REPLACE, 0))
	w.fails(abi.EINVAL)(w.xattrSet(f, name, w.mem.bytes("value"), 5, 4, 0))
	w.fails(abi.EPERM)(w.xattrSet(w.mem.str("l"), name, w.mem.bytes("v"), 1, 0, abi.AT_SYMLINK_NOFOLLOW))
	w.fails(abi.E2BIG)(w.xattrSet(f, name, w.mem.bytes("v"), abi.XATTR_SIZE_MAX+1, 0, 0))
	w.fails(abi.ERANGE)(w.xattrSet(f, w.mem.str(""), w.mem.bytes("v"), 1, 0, 0))
	w.fails(abi.ERANGE)(w.xattrSet(f, w.mem.str("user."+strings.Repeat("n", 251)), w.mem.bytes("v"), 1, 0, 0))
	w.ok(w.xattrSet(f, w.mem.str("user."+strings.Repeat("n", 250)), 0, 0, 0, 0))
	w.fails(abi.EFAULT)(w.xattrSet(f, name, w.mem.bad(), 1, 0, 0))
	w.fails(abi.EFAULT)(w.xattrSet(f, w.mem.bad(), w.mem.bytes("v"), 1, 0, 0))
	w.fails(abi.ENOENT)(w.xattrSet(w.mem.str("none"), name, w.mem.bytes("v"), 1, 0, 0))
	w.fails(abi.EBADF)(w.xattrFdSet(w.open("f", abi.O_PATH), name, w.mem.bytes("v"), 1, 0))

	p, at := w.mem.alloc(8)
	if n := w.ok(w.xattrGet(f, name, 0, 0, 0)); n != 5 {
		t.Errorf("length %d", n)
	}
	w.fails(abi.ERANGE)(w.xattrFdGet(fd, name, at, 4))
	if n := w.ok(w.xattrFdGet(fd, name, at, 5)); n != 5 || string(p[:5]) != "value" {
		t.Errorf("%d bytes %q", n, p)
	}
	w.fails(abi.EFAULT)(w.xattrFdGet(fd, name, w.mem.bad(), 5))
	w.fails(abi.ENODATA)(w.xattrGet(f, w.mem.str("user.none"), at, 8, 0))

	list, at := w.mem.alloc(300)
	if n := w.ok(w.xattrList(f, 0, 0, 0)); n != 256+10 {
		t.Errorf("the list has %d bytes", n)
	}
	w.fails(abi.ERANGE)(w.xattrList(f, at, 265, 0))
	n := w.ok(w.xattrFdList(fd, at, 300))
	if got := string(list[:n]); !strings.Contains(got, "user.name\x00") || !strings.HasSuffix(got, "\x00") {
		t.Errorf("list %q", got)
	}
	w.ok(w.xattrFdRemove(fd, name))
	w.fails(abi.ENODATA)(w.xattrRemove(f, name, 0))
	w.fails(abi.EINVAL)(w.xattrRemove(f, name, abi.AT_EMPTY_PATH))
}
