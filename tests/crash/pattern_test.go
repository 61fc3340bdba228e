package crash

import (
	"encoding/binary"
	"fmt"
)

// File content says whose it is: every eight bytes are a function of the file, of the operation
// that wrote them (the version, from 1 on) and of the offset. Content of another file, of another
// place or time, or garbage is told from what belongs there. Version 0 is zeros.

const wordSize = 8

// word is the content of the eight bytes at off, a multiple of eight.
func word(file, version uint32, off int64) uint64 {
	if version == 0 {
		return 0
	}
	h := uint64(file)<<40 ^ uint64(version)<<16 ^ uint64(off)*0x9e3779b97f4a7c15
	h = (h ^ h>>31) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>29) * 0x94d049bb133111eb
	return h ^ h>>32 | 1 // never zero
}

// fill puts the content at off into p.
func fill(p []byte, file, version uint32, off int64) {
	var w [wordSize]byte
	for len(p) > 0 {
		in := off % wordSize
		if in == 0 && len(p) >= wordSize {
			binary.LittleEndian.PutUint64(p, word(file, version, off))
			p, off = p[wordSize:], off+wordSize
			continue
		}
		binary.LittleEndian.PutUint64(w[:], word(file, version, off-in))
		n := copy(p, w[in:])
		p, off = p[n:], off+int64(n)
	}
}

// matches tells whether p is the content at off.
func matches(p []byte, file, version uint32, off int64) bool {
	var w [wordSize]byte
	for len(p) > 0 {
		in := off % wordSize
		if in == 0 && len(p) >= wordSize {
			if binary.LittleEndian.Uint64(p) != word(file, version, off) {
				return false
			}
			p, off = p[wordSize:], off+wordSize
			continue
		}
		binary.LittleEndian.PutUint64(w[:], word(file, version, off-in))
		n := min(len(w)-int(in), len(p))
		if string(p[:n]) != string(w[in:][:n]) {
			return false
		}
		p, off = p[n:], off+int64(n)
	}
	return true
}

// identify says what content at offset off is, for a failure's message, given the files that
// there were and their sizes.
func identify(p []byte, off int64, files []*object) string {
	if skip := int(-off & (wordSize - 1)); len(p) >= skip+wordSize {
		p, off = p[skip:], off+int64(skip)
	} else {
		return fmt.Sprintf("%x", p)
	}
	got := binary.LittleEndian.Uint64(p)
	if got == 0 {
		return "zeros"
	}
	for _, f := range files {
		for _, c := range f.changes {
			if c.kind != changeWrite {
				continue
			}
			// At another offset only whole blocks can be.
			for at := off % 1024; at < c.end; at += 1024 {
				if word(f.tag, c.version(), at) == got {
					s := fmt.Sprintf("what operation %d wrote to %v at %d", c.op, f, at)
					if at == off {
						s += ", which is the right place"
					}
					return s
				}
			}
		}
	}
	return fmt.Sprintf("garbage %#016x", got)
}
