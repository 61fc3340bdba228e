package emu

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
)

// elfFile builds an ELF file in memory.
type elfFile struct {
	typ, machine uint16
	entry        uint64
	phdrs        []elfPhdr
	size         int
}

type elfPhdr struct {
	kind, flags               uint32
	off, vaddr, filesz, memsz uint64
	align                     uint64
}

func (f *elfFile) bytes() []byte {
	b := make([]byte, max(f.size, elfHeaderSize+len(f.phdrs)*elfPhdrSize))
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], f.typ)
	le.PutUint16(b[18:], f.machine)
	le.PutUint64(b[24:], f.entry)
	le.PutUint64(b[32:], elfHeaderSize)
	le.PutUint16(b[54:], elfPhdrSize)
	le.PutUint16(b[56:], uint16(len(f.phdrs)))
	for i, p := range f.phdrs {
		h := b[elfHeaderSize+i*elfPhdrSize:]
		le.PutUint32(h, p.kind)
		le.PutUint32(h[4:], p.flags)
		for j, v := range []uint64{p.off, p.vaddr, p.vaddr, p.filesz, p.memsz, p.align} {
			le.PutUint64(h[8+8*j:], v)
		}
	}
	return b
}

func bytesReader(b []byte) reader {
	return func(p []byte, off int64) (int, abi.Errno) {
		if off < 0 || off >= int64(len(b)) {
			return 0, 0
		}
		return copy(p, b[off:]), 0
	}
}

func goodELF() *elfFile {
	return &elfFile{typ: elfTypeDyn, machine: elfMachAMD64, entry: 0x1010, size: 0x4000, phdrs: []elfPhdr{
		{kind: ptLoad, flags: pfR, off: 0, vaddr: 0, filesz: 0x800, memsz: 0x800, align: 0x1000},
		{kind: ptLoad, flags: pfR | pfX, off: 0x1000, vaddr: 0x1000, filesz: 0x1000, memsz: 0x1000, align: 0x1000},
		{kind: ptLoad, flags: pfR | pfW, off: 0x2800, vaddr: 0x3800, filesz: 0x100, memsz: 0x3000, align: 0x1000},
		{kind: ptGNUStack, flags: pfR | pfW},
	}}
}

func TestParseELF(t *testing.T) {
	b := goodELF().bytes()
	got, err := parseELF(bytesReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	r, w, x := uint8(abi.PROT_READ), uint8(abi.PROT_WRITE), uint8(abi.PROT_EXEC)
	want := &elfImage{
		entry: 0x1010, lo: 0, hi: 0x7000, align: 0x1000, phdr: elfHeaderSize, phnum: 4,
		segments: []elfSegment{
			{0, 0, 0x800, 0x800, r}, {0x1000, 0x1000, 0x1000, 0x1000, r | x}, {0x2800, 0x3800, 0x100, 0x3000, r | w},
		},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(elfImage{}, elfSegment{})); d != "" {
		t.Error(d)
	}
}

func TestParseELFErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*elfFile)
		want   error
	}{
		{"nothing", func(*elfFile) {}, nil},
		{"arm64", func(f *elfFile) { f.machine = 183 }, errForeign},
		{"object file", func(f *elfFile) { f.typ = 1 }, errBadELF},
		{"no segment", func(f *elfFile) { f.phdrs = f.phdrs[3:] }, errBadELF},
		{"too many headers", func(f *elfFile) { f.phdrs = make([]elfPhdr, maxPhdrs+1) }, errBadELF},
		{"entry outside", func(f *elfFile) { f.entry = 1 << 30 }, errBadELF},
		{"content behind the end", func(f *elfFile) { f.phdrs[1].filesz, f.phdrs[1].memsz = 0x100000, 0x100000 }, errBadELF},
		{"offset behind the end", func(f *elfFile) { f.phdrs[1].off = 1 << 62 }, errBadELF},
		{"file longer than memory", func(f *elfFile) { f.phdrs[1].memsz = 1 }, errBadELF},
		{"address and offset disagree", func(f *elfFile) { f.phdrs[1].off = 0x1001 }, errBadELF},
		{"address overflows", func(f *elfFile) { f.phdrs[2].vaddr = ^uint64(0) - 0x7ff }, errBadELF},
		{"length overflows", func(f *elfFile) { f.phdrs[2].memsz = ^uint64(0) }, errBadELF},
		{"overlap", func(f *elfFile) { f.phdrs[2].vaddr = 0x1800 }, errBadELF},
		{"shared page", func(f *elfFile) { f.phdrs[0].memsz = 0x1001 }, errBadELF},
		{"interpreter without end", func(f *elfFile) { f.phdrs[3] = elfPhdr{kind: ptInterp, off: 0x1000, filesz: 8} }, errBadELF},
		{"long interpreter", func(f *elfFile) { f.phdrs[3] = elfPhdr{kind: ptInterp, off: 0x1000, filesz: maxInterp + 1} }, errBadELF},
	} {
		f := goodELF()
		c.change(f)
		b := f.bytes()
		if c.name == "interpreter without end" {
			copy(b[0x1000:], "/lib/ld.so")
		}
		if _, err := parseELF(bytesReader(b), int64(len(b))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// checkELF checks what loading relies on.
func checkELF(t *testing.T, e *elfImage, size int64) {
	end := uint64(0)
	for _, s := range e.segments {
		if s.vaddr < end || s.off < 0 || s.off+int64(s.filesz) > size || s.memsz < s.filesz ||
			s.vaddr+s.memsz < s.vaddr || s.vaddr%pageSize != uint64(s.off)%pageSize {
			t.Fatalf("segment %+v behind %#x in a file of %d", s, end, size)
		}
		end = pageUp(s.vaddr + s.memsz)
	}
	if e.hi != end || e.lo > e.hi || e.entry < e.lo || e.entry >= e.hi || e.align&(e.align-1) != 0 || e.align > 1<<30 {
		t.Fatalf("%+v", e)
	}
}

func FuzzParseELF(f *testing.F) {
	f.Add(goodELF().bytes())
	if b, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(b[:min(len(b), 8192)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		read := bytesReader(b)
		e, err := parseELF(read, int64(len(b)))
		if (e != nil && len(e.segments) > 0) != (err == nil) && err == nil {
			t.Fatal("neither a program nor an error")
		}
		if err == nil {
			checkELF(t, e, int64(len(b)))
		}
		nearestSymbol(read, int64(len(b)), 0x1234)
	})
}

// FuzzLoad loads whatever the parser lets pass into an address space.
func FuzzLoad(f *testing.F) {
	f.Add(goodELF().bytes(), uint64(1), uint64(2))
	w := newMemWorld(f)
	f.Fuzz(func(t *testing.T, b []byte, random1, random2 uint64) {
		p, err := w.kernel.newProcess("/")
		if err != nil {
			t.Fatal(err)
		}
		defer p.discard()
		d, _, errno := w.kernel.ns.Open(p.fs(), nil, "/prog", abi.O_CREAT|abi.O_TRUNC|abi.O_RDWR, 0o755)
		if errno != 0 {
			t.Fatal(errno)
		}
		d.Node().Write(0, len(b), &memSource{b})
		d.Unref()
		prog, err := w.kernel.openProgram(p.fs(), &request{name: "/prog", argv: []string{"prog"}})
		if err != nil {
			return
		}
		defer prog.close()
		p.mapProgram(p.mem(), prog, random1, random2)
		checkSet(t, &p.mem().set)
	})
}

type memSource struct{ p []byte }

func (s *memSource) Get(p []byte) (int, abi.Errno) {
	n := copy(p, s.p)
	s.p = s.p[n:]
	return n, 0
}

func TestScriptLine(t *testing.T) {
	for _, c := range []struct{ line, interp, arg string }{
		{"/bin/sh\n", "/bin/sh", ""},
		{" /bin/sh \n", "/bin/sh", ""},
		{"/bin/sh -e -x \nrest", "/bin/sh", "-e -x"},
		{"\t/bin/sh\t-e", "/bin/sh", "-e"},
		{"\n/bin/sh", "", ""},
		{"", "", ""},
		{"/bin/sh\x00junk\n", "/bin/sh", ""},
	} {
		if interp, arg := scriptLine([]byte(c.line)); interp != c.interp || arg != c.arg {
			t.Errorf("%q: %q %q, want %q %q", c.line, interp, arg, c.interp, c.arg)
		}
	}
}
