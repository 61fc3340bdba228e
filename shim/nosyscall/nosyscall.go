// Package nosyscall looks for instructions that enter a host kernel (syscall, sysenter, int
// 0x80) in archives and programs.
//
// A program has to reach the kernel through Pinhole's gate. The lock catches what does
// not, at some microseconds a call, so this is about finding at build time what was not meant,
// not about safety. Bytes alone say little: data and parts of longer instructions look the
// same. So they only choose the sections worth disassembling, by objdump, from symbol to symbol.
package nosyscall

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
)

// Site is an instruction found.
type Site struct {
	Object      string // member of an archive, or the program's file name
	Function    string // the symbol before it, "" if there is none
	Address     uint64 // in the section's (or program's) own addresses
	Instruction string
}

func (s Site) String() string {
	where := s.Object
	if s.Function != "" {
		where += ": " + s.Function
	}
	return fmt.Sprintf("%s: %#x: %s", where, s.Address, s.Instruction)
}

// List prints sites, one a line, and how many more there are.
func List(sites []Site) string {
	var b strings.Builder
	for i, s := range sites {
		if i == 10 {
			fmt.Fprintf(&b, "\tand %d more\n", len(sites)-i)
			break
		}
		fmt.Fprintf(&b, "\t%v\n", s)
	}
	return strings.TrimRight(b.String(), "\n")
}

// Archive looks through the members of an archive, or an object file.
func Archive(ctx context.Context, name string) ([]Site, error) { return disassemble(ctx, name) }

// Program looks through a linked program's executable sections.
func Program(ctx context.Context, name string) ([]Site, error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	var suspects []string
	err = eachCode(f, func(s *elf.Section, code []byte) {
		if Suspect(code) {
			suspects = append(suspects, "-j", s.Name)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if suspects == nil {
		return nil, nil
	}
	return disassemble(ctx, name, suspects...)
}

// eachCode hands over the executable sections of a program and what is in them.
func eachCode(f *elf.File, do func(s *elf.Section, code []byte)) error {
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_EXECINSTR == 0 || s.Type == elf.SHT_NOBITS {
			continue
		}
		code, err := s.Data()
		if err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
		do(s, code)
	}
	return nil
}

// Suspect reports whether code holds the bytes of one of the instructions anywhere.
func Suspect(code []byte) bool {
	for _, op := range [][]byte{{0x0f, 0x05}, {0x0f, 0x34}, {0xcd, 0x80}} {
		if bytes.Contains(code, op) {
			return true
		}
	}
	return false
}

// lines are what the disassembly is made of. They are compiled when they are first used: this
// package is linked into a command that starts far more often than it disassembles.
var lines = sync.OnceValue(func() (l struct{ member, function, entering *regexp.Regexp }) {
	l.member = regexp.MustCompile(`^(\S+):\s+file format elf`)
	l.function = regexp.MustCompile(`^[0-9a-f]+ <(.+)>:$`)
	l.entering = regexp.MustCompile(`^\s*([0-9a-f]+):\s+(?:\S+ )*?((?:syscall|sysenter|int\s+\$0x80)\b.*)$`)
	return l
})

func disassemble(ctx context.Context, name string, options ...string) ([]Site, error) {
	cmd := exec.CommandContext(ctx, "objdump", append(append([]string{"-d", "--no-show-raw-insn"}, options...), name)...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("objdump %s: %w: %s", name, err, bytes.TrimSpace(said.Bytes()))
	}
	var sites []Site
	object, symbol, re := name, "", lines()
	for line := range bytes.Lines(out) {
		line = bytes.TrimRight(line, "\n")
		if m := re.member.FindSubmatch(line); m != nil {
			object, symbol = string(m[1]), ""
		} else if m := re.function.FindSubmatch(line); m != nil {
			symbol = string(m[1])
		} else if m := re.entering.FindSubmatch(line); m != nil {
			var at uint64
			fmt.Sscanf(string(m[1]), "%x", &at)
			sites = append(sites, Site{object, symbol, at, strings.Join(strings.Fields(string(m[2])), " ")})
		}
	}
	return sites, nil
}
