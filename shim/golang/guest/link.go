package guest

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Program headers of 64-bit ELF files.
const (
	phoffAt  = 0x20 // in the file header
	phdrSize = 56
)

// Finish makes a position-independent program, as the Go linker has written it, one that needs no
// dynamic linker: its start relocates it. A program that was not linked by the Go linker alone, and so
// has relocations for others to do, is refused.
func Finish(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = finish(f)
	if err1 := f.Close(); err == nil {
		err = err1
	}
	return err
}

func finish(f *os.File) error {
	e, err := elf.NewFile(f)
	if err != nil {
		return err
	}
	if e.Class != elf.ELFCLASS64 || e.Machine != elf.EM_X86_64 {
		return fmt.Errorf("is a program for %v", e.Machine)
	}
	if e.Type != elf.ET_DYN {
		return errors.New("is not position-independent")
	}
	if libs, err := e.ImportedLibraries(); err == nil && len(libs) > 0 {
		return fmt.Errorf("needs the shared library %s", libs[0])
	}
	if err := relative(e); err != nil {
		return err
	}
	var b [8]byte
	if _, err := f.ReadAt(b[:], phoffAt); err != nil {
		return err
	}
	off := int64(binary.LittleEndian.Uint64(b[:]))
	for i, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		if _, err := f.WriteAt(make([]byte, 4), off+int64(i)*phdrSize); err != nil { // PT_NULL
			return err
		}
	}
	return nil
}

// relative checks that all relocations are R_X86_64_RELATIVE, which the start does.
func relative(e *elf.File) error {
	for _, s := range e.Sections {
		if s.Type != elf.SHT_RELA || s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		r := s.Open()
		b := make([]byte, 24<<10)
		for {
			n, err := io.ReadFull(r, b)
			for at := b[:n]; len(at) >= 24; at = at[24:] {
				info := binary.LittleEndian.Uint64(at[8:])
				if elf.R_X86_64(info) != elf.R_X86_64_RELATIVE {
					return fmt.Errorf("has a relocation of type %v; it was not linked by Go's linker alone", elf.R_X86_64(info&0xffffffff))
				}
			}
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
