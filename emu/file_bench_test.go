package emu

import (
	"testing"

	"pinhole/abi"
)

// These measure the handlers alone: no gate, no guest.

func BenchmarkFilePread(b *testing.B) {
	w := newIOWorld(b, Config{})
	fd := w.open("f", abi.O_CREAT|abi.O_RDWR)
	_, buf := w.mem.alloc(64 << 10)
	w.ok(w.fileWrite(fd, buf, 64<<10))
	for _, n := range []uint64{1, 4096, 64 << 10} {
		b.Run(map[uint64]string{1: "1B", 4096: "4KiB", 64 << 10: "64KiB"}[n], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got, _ := w.filePread(fd, buf, n, 0); got != n {
					b.Fatal(got)
				}
			}
		})
	}
}

func BenchmarkFileWrite(b *testing.B) {
	w := newIOWorld(b, Config{})
	fd := w.open("f", abi.O_CREAT|abi.O_RDWR)
	_, buf := w.mem.alloc(4096)
	w.ok(w.fileWrite(fd, buf, 4096))
	b.ReportAllocs()
	for b.Loop() {
		if got, _ := w.filePwrite(fd, buf, 4096, 0); got != 4096 {
			b.Fatal(got)
		}
	}
}

// deep makes a path of three levels and returns it.
func (w *ioWorld) deep() abi.Addr {
	for _, dir := range []string{"a", "a/b"} {
		w.ok(w.pathMkdir(abi.AT_FDCWD, w.mem.str(dir), 0o755))
	}
	w.fdClose(w.open("a/b/file", abi.O_CREAT|abi.O_RDWR))
	return w.mem.str("a/b/file")
}

func BenchmarkPathOpen(b *testing.B) {
	w := newIOWorld(b, Config{})
	path := w.deep()
	b.ReportAllocs()
	for b.Loop() {
		fd, errno := w.pathOpen(abi.AT_FDCWD, path, abi.O_RDONLY, 0)
		if errno != 0 {
			b.Fatal(errno)
		}
		w.fdClose(int32(fd))
	}
}

func BenchmarkPathStat(b *testing.B) {
	w := newIOWorld(b, Config{})
	path := w.deep()
	_, buf := w.mem.alloc(abi.StatSize)
	none := w.mem.str("a/b/none")
	b.Run("found", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, errno := w.pathStat(abi.AT_FDCWD, path, buf, 0); errno != 0 {
				b.Fatal(errno)
			}
		}
	})
	b.Run("missing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, errno := w.pathStat(abi.AT_FDCWD, none, buf, 0); errno != abi.ENOENT {
				b.Fatal(errno)
			}
		}
	})
	fd := w.open("a/b/file", abi.O_RDONLY)
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, errno := w.fileStat(fd, buf); errno != 0 {
				b.Fatal(errno)
			}
		}
	})
}

func BenchmarkCreateUnlink(b *testing.B) {
	w := newIOWorld(b, Config{})
	w.deep()
	path := w.mem.str("a/new")
	b.ReportAllocs()
	for b.Loop() {
		fd, errno := w.pathOpen(abi.AT_FDCWD, path, abi.O_CREAT|abi.O_EXCL|abi.O_WRONLY, 0o644)
		if errno != 0 {
			b.Fatal(errno)
		}
		w.fdClose(int32(fd))
		if _, errno := w.pathUnlink(abi.AT_FDCWD, path, 0); errno != 0 {
			b.Fatal(errno)
		}
	}
}

func BenchmarkDirRead(b *testing.B) {
	w := newIOWorld(b, Config{})
	w.deep()
	for i := range 100 {
		w.fdClose(w.open("a/name-"+string(rune('a'+i/10))+string(rune('a'+i%10)), abi.O_CREAT|abi.O_RDWR))
	}
	dir := w.open("a", abi.O_RDONLY)
	_, buf := w.mem.alloc(32 << 10)
	b.ReportAllocs()
	for b.Loop() {
		w.fileSeek(dir, 0, abi.SEEK_SET)
		if n, errno := w.dirRead(dir, buf, 32<<10); errno != 0 || n < 100*32 {
			b.Fatal(n, errno)
		}
	}
}

func BenchmarkDup(b *testing.B) {
	w := newIOWorld(b, Config{})
	b.ReportAllocs()
	for b.Loop() {
		fd, errno := w.fdDup(0)
		if errno != 0 {
			b.Fatal(errno)
		}
		w.fdClose(int32(fd))
	}
}

func BenchmarkLookup(b *testing.B) {
	w := newIOWorld(b, Config{})
	for b.Loop() {
		d, errno := w.file(1)
		if errno != 0 {
			b.Fatal(errno)
		}
		d.unref()
	}
}

func BenchmarkPipe(b *testing.B) {
	w := newIOWorld(b, Config{})
	r, wr := w.pipe(0)
	_, buf := w.mem.alloc(4096)
	for _, n := range []uint64{1, 4096} {
		b.Run(map[uint64]string{1: "1B", 4096: "4KiB"}[n], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.fileWrite(wr, buf, n)
				if got, _ := w.fileRead(r, buf, n); got != n {
					b.Fatal(got)
				}
			}
		})
	}
}

// BenchmarkPipeHandOver is a message and its answer between two threads.
func BenchmarkPipeHandOver(b *testing.B) {
	w := newIOWorld(b, Config{})
	there, thereIn := w.pipe(0)
	back, backIn := w.pipe(0)
	o := w.thread()
	go func() {
		_, buf := o.mem.alloc(1)
		for {
			if n, _ := o.fileRead(there, buf, 1); n != 1 {
				return
			}
			o.fileWrite(backIn, buf, 1)
		}
	}()
	_, buf := w.mem.alloc(1)
	b.ReportAllocs()
	for b.Loop() {
		w.fileWrite(thereIn, buf, 1)
		if n, _ := w.fileRead(back, buf, 1); n != 1 {
			b.Fatal(n)
		}
	}
	w.fdClose(thereIn)
}

func BenchmarkPoll(b *testing.B) {
	w := newIOWorld(b, Config{})
	r, wr := w.pipe(0)
	p, fds := w.mem.alloc(2 * abi.PollfdSize)
	(&abi.Pollfd{FD: r, Events: abi.POLLIN}).Encode(p)
	(&abi.Pollfd{FD: wr, Events: abi.POLLOUT}).Encode(p[abi.PollfdSize:])
	b.ReportAllocs()
	for b.Loop() {
		if n, errno := w.pollMillis(fds, 2, -1); n != 1 {
			b.Fatal(n, errno)
		}
	}
}
