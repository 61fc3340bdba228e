package emu

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"pinhole/abi"
)

// What is wrong with a program file, for the operator; a guest gets ENOEXEC for each.
var (
	errNotELF  = errors.New("neither an ELF program nor a script")
	errForeign = errors.New("a program for another kind of machine or system")
	errBadELF  = errors.New("a damaged ELF program")
)

// Constants of the ELF format (elf(5); System V ABI, x86-64 supplement).
const (
	elfHeaderSize = 64
	elfPhdrSize   = 56

	elfClass64   = 2
	elfDataLE    = 1
	elfOSNone    = 0
	elfOSLinux   = 3
	elfTypeExec  = 2
	elfTypeDyn   = 3
	elfMachAMD64 = 62

	ptLoad     = 1
	ptInterp   = 3
	ptPhdr     = 6
	ptGNUStack = 0x6474e551

	pfX = 1
	pfW = 2
	pfR = 4

	// Bounds on what a file may ask for.
	maxPhdrs  = 128
	maxInterp = 4096
)

// elfSegment is a PT_LOAD program header.
type elfSegment struct {
	off    int64
	vaddr  uint64
	filesz uint64
	memsz  uint64
	prot   uint8
}

// elfImage is what loading a program needs to know of it: checked, so that no sum of its
// numbers overflows, segments are in ascending order and do not share pages.
type elfImage struct {
	fixed     bool // ET_EXEC: its addresses are its own
	entry     uint64
	segments  []elfSegment
	lo, hi    uint64 // pages from the first to behind the last
	align     uint64 // of the place where it is loaded, at least a page
	phdr      uint64 // address of the program headers, 0 if no segment has them
	phnum     uint64
	interp    string // dynamic linker, "" for a static program
	execStack bool
}

// reader reads a file's content at an offset; fewer bytes than asked for mean its end.
type reader func(p []byte, off int64) (int, abi.Errno)

// parseELF reads the headers of a program of size bytes. The error wraps one of those above, or an
// abi.Errno of the file system.
func parseELF(read reader, size int64) (*elfImage, error) {
	var h [elfHeaderSize]byte
	if err := readFull(read, h[:], 0); err != nil {
		return nil, err
	}
	if string(h[:4]) != "\x7fELF" {
		return nil, errNotELF
	}
	typ, machine := le.Uint16(h[16:]), le.Uint16(h[18:])
	switch {
	case h[4] != elfClass64 || h[5] != elfDataLE:
		return nil, fmt.Errorf("%w: not 64-bit little-endian", errForeign)
	case machine != elfMachAMD64:
		return nil, fmt.Errorf("%w: ELF machine %d, and this is x86-64 (62)", errForeign, machine)
	case h[7] != elfOSNone && h[7] != elfOSLinux:
		return nil, fmt.Errorf("%w: ELF system number %d", errForeign, h[7])
	case typ != elfTypeExec && typ != elfTypeDyn:
		return nil, fmt.Errorf("%w: ELF type %d is no program", errBadELF, typ)
	}
	phoff, phentsize, phnum := le.Uint64(h[32:]), le.Uint16(h[54:]), le.Uint16(h[56:])
	if phentsize != elfPhdrSize || phnum == 0 || phnum > maxPhdrs || phoff > uint64(size) {
		return nil, fmt.Errorf("%w: program headers", errBadELF)
	}
	table := make([]byte, int(phnum)*elfPhdrSize)
	if err := readFull(read, table, int64(phoff)); err != nil {
		return nil, err
	}
	e := &elfImage{fixed: typ == elfTypeExec, entry: le.Uint64(h[24:]), align: pageSize, phnum: uint64(phnum), execStack: false}
	var phdrVaddr uint64
	for ; len(table) > 0; table = table[elfPhdrSize:] {
		kind, flags := le.Uint32(table), le.Uint32(table[4:])
		off, vaddr := le.Uint64(table[8:]), le.Uint64(table[16:])
		filesz, memsz, align := le.Uint64(table[32:]), le.Uint64(table[40:]), le.Uint64(table[48:])
		switch kind {
		case ptLoad:
			if err := e.addSegment(flags, off, vaddr, filesz, memsz, align, size); err != nil {
				return nil, err
			}
		case ptInterp:
			if filesz == 0 || filesz > maxInterp || off > math.MaxInt64 {
				return nil, fmt.Errorf("%w: name of the dynamic linker", errBadELF)
			}
			name := make([]byte, filesz)
			if err := readFull(read, name, int64(off)); err != nil {
				return nil, err
			}
			if e.interp = cString(name); e.interp == "" {
				return nil, fmt.Errorf("%w: name of the dynamic linker", errBadELF)
			}
		case ptPhdr:
			phdrVaddr = vaddr
		case ptGNUStack:
			e.execStack = flags&pfX != 0
		}
	}
	return e, e.check(phoff, phdrVaddr)
}

func (e *elfImage) addSegment(flags uint32, off, vaddr, filesz, memsz, align uint64, size int64) error {
	if memsz == 0 {
		return nil
	}
	switch {
	case filesz > memsz || off%pageSize != vaddr%pageSize,
		vaddr > guestEnd || memsz > guestEnd-vaddr,
		off > uint64(size) || filesz > uint64(size)-off:
		return fmt.Errorf("%w: segment at %#x", errBadELF, vaddr)
	}
	if align > e.align && align&(align-1) == 0 && align <= 1<<30 {
		e.align = align
	}
	s := elfSegment{off: int64(off), vaddr: vaddr, filesz: filesz, memsz: memsz}
	for _, f := range [...]struct {
		flag uint32
		prot uint8
	}{{pfR, abi.PROT_READ}, {pfW, abi.PROT_WRITE}, {pfX, abi.PROT_EXEC}} {
		if flags&f.flag != 0 {
			s.prot |= f.prot
		}
	}
	e.segments = append(e.segments, s)
	return nil
}

// check looks at the segments together.
func (e *elfImage) check(phoff, phdrVaddr uint64) error {
	if len(e.segments) == 0 {
		return fmt.Errorf("%w: nothing to load", errBadELF)
	}
	slices.SortFunc(e.segments, func(a, b elfSegment) int {
		switch {
		case a.vaddr < b.vaddr:
			return -1
		case a.vaddr > b.vaddr:
			return 1
		}
		return 0
	})
	e.lo = pageDown(e.segments[0].vaddr)
	tableLen := e.phnum * elfPhdrSize
	for i, s := range e.segments {
		if i > 0 && pageDown(s.vaddr) < e.hi {
			return fmt.Errorf("%w: segments overlap at %#x", errBadELF, s.vaddr)
		}
		e.hi = pageUp(s.vaddr + s.memsz)
		if phoff >= uint64(s.off) && s.filesz >= tableLen && phoff-uint64(s.off) <= s.filesz-tableLen && e.phdr == 0 {
			e.phdr = s.vaddr + (phoff - uint64(s.off))
		}
	}
	if phdrVaddr != 0 {
		e.phdr = phdrVaddr
	}
	if e.entry < e.lo || e.entry >= e.hi {
		return fmt.Errorf("%w: entry point %#x", errBadELF, e.entry)
	}
	return nil
}

// readFull reads all of p; a file that ends before is damaged.
func readFull(read reader, p []byte, off int64) error {
	n, errno := read(p, off)
	switch {
	case errno != 0:
		return errno
	case n == len(p):
		return nil
	case off == 0:
		return errNotELF
	}
	return fmt.Errorf("%w: it ends too early", errBadELF)
}

// cString returns what comes before the first NUL of b, or nothing if there is none.
func cString(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		return string(b[:i])
	}
	return ""
}
