package vfstest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// FileOptions says what a file generator does besides what all file systems have.
type FileOptions struct {
	Allocate bool  // fallocate
	Remount  bool  // unmounts and mounts, and caches that are dropped
	Mapped   bool  // reads and stores through mappings
	Size     int64 // most that the file has; 0 for 256 KiB
	Bytes    int64 // most of one write; 0 for 64 KiB
	Sparse   bool  // now and then at places far behind
	Hoard    bool  // make the file shorter only when there is no room
}

// NewFile returns a generator of steps on the content of one file and another one beside it,
// after fsx.
func NewFile(o FileOptions) func(seed uint64) Generator {
	if o.Size == 0 {
		o.Size = 256 << 10
	}
	if o.Bytes == 0 {
		o.Bytes = 64 << 10
	}
	return func(seed uint64) Generator {
		return &fileGen{o: o, rnd: rand.New(rand.NewPCG(seed, 2)), open: make(map[string]bool)}
	}
}

type fileGen struct {
	o     FileOptions
	rnd   *rand.Rand
	open  map[string]bool
	short bool // there was no room
}

// span is a range in the file: of any length and place, often at boundaries of blocks or pages.
func (g *fileGen) span() (off, n int64) {
	r := g.rnd
	off = r.Int64N(g.o.Size)
	n = 1 + r.Int64N(pick(r, 16, 1000, 5000, g.o.Bytes))
	switch r.IntN(6) {
	case 0:
		off &^= 4095
	case 1:
		off &^= 1023
	case 2:
		off &^= 4095
		n = (n + 4095) &^ 4095
	case 3:
		n = max((off+n)&^4095-off, 1)
	}
	if g.o.Sparse && r.IntN(12) == 0 {
		off += pick[int64](r, 1<<24, 1<<30, 1<<32, 1<<35)
	}
	return off, n
}

// Next implements Generator.
func (g *fileGen) Next() string {
	r := g.rnd
	h := pick(r, "a", "a", "b")
	if !g.open[h] {
		// Two ways to the same file, one of which appends; and from time to time another file.
		if h == "b" {
			return "hold b f creat|rw|append 644"
		}
		return "hold a f creat|rw 644"
	}
	if g.o.Remount && r.IntN(700) == 0 {
		return pick(r, "remount", "caches", "caches")
	}
	if g.short && r.IntN(2) == 0 {
		g.short = false
		return fmt.Sprintf("ftruncate a %d", r.Int64N(g.o.Size/4))
	}
	off, n := g.span()
	line := g.step(h, off, n)
	for g.o.Hoard && (strings.HasPrefix(line, "ftruncate") || strings.HasPrefix(line, "unlink")) && r.IntN(20) > 0 {
		line = g.step(h, off, n)
	}
	return line
}

// step is one with the file's handle h and a range.

func (g *fileGen) step(h string, off, n int64) string {
	r := g.rnd
	write := func() string { return fmt.Sprintf("fput a %d {@%d*%d}", off, r.IntN(1<<16), n) }
	switch k := r.IntN(40); {
	case k < 12:
		return write()
	case k < 15:
		return fmt.Sprintf("fput b 0 {@%d*%d}", r.IntN(1<<16), 1+n/8)
	case k < 23:
		return fmt.Sprintf("fsum %s %d %d", h, off, n)
	case k < 26:
		return fmt.Sprintf("ftruncate %s %d", h, off)
	case k < 27:
		return fmt.Sprintf("ftruncate %s %d", h, pick(r, 0, 1, off&^4095, off|1))
	case k < 32:
		if !g.o.Allocate {
			return write()
		}
		return fmt.Sprintf("fallocate a %s %d %d", pick(r, "0", "keep", "keep|punch", "keep|punch", "zero", "keep|zero"), off, n)
	case k < 34:
		return "holes a"
	case k < 35:
		return pick(r, "fsync ", "fdatasync ") + h
	case k < 36:
		return "flook a"
	case k < 37:
		return pick(r, "sync", "drop "+h, "statfs", "sum f", "unlink f", "rename f g", "drop a")
	}
	if !g.o.Mapped {
		return write()
	}
	if r.IntN(2) == 0 {
		return fmt.Sprintf("fmap a %d %d", off, n)
	}
	return fmt.Sprintf("fstore a %d {@%d*%d}", off, r.IntN(1<<16), n)
}

// Done implements Generator.
func (g *fileGen) Done(line, result string) {
	var what, h string
	fmt.Sscan(line, &what, &h)
	switch {
	case result == "ENOSPC":
		g.short = true
	case what == "remount":
		clear(g.open)
	case what == "drop":
		delete(g.open, h)
	case what == "hold" && result == "OK":
		g.open[h] = true
	}
}
