package nosyscall

import (
	"debug/elf"
	"debug/gosym"
	"fmt"
	"slices"
)

// GoProgram looks through a program of Go's linker. It needs no other program and no symbol table:
// Go programs have a table of their functions.
func GoProgram(name string) ([]Site, error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	var table []byte
	if s := f.Section(".gopclntab"); s != nil {
		if table, err = s.Data(); err != nil {
			return nil, fmt.Errorf("%s: section %s: %w", name, s.Name, err)
		}
	}
	var sites []Site
	err = eachCode(f, func(s *elf.Section, code []byte) {
		starts := []int{0}
		if s.Name == ".text" {
			starts = append(starts, functions(table, len(code))...)
		}
		for i, start := range starts {
			end := len(code)
			if i+1 < len(starts) {
				end = starts[i+1]
			}
			if !Suspect(code[start:end]) {
				continue
			}
			for _, at := range entering(code[start:end]) {
				site := Site{Object: name, Address: s.Addr + uint64(start+at), Instruction: instruction(code[start+at:])}
				site.Function = goFunction(table, s.Addr, site.Address)
				sites = append(sites, site)
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return sites, nil
}

// instruction names one that enters a host kernel, as objdump does.
func instruction(code []byte) string {
	for len(code) > 2 && prefix(code[0]) {
		code = code[1:]
	}
	switch {
	case code[0] == 0xcd:
		return "int $0x80"
	case code[1] == 0x34:
		return "sysenter"
	}
	return "syscall"
}

// goFunction names the function at an address, if the table of functions does.
func goFunction(table []byte, text, at uint64) string {
	t, err := gosym.NewTable(nil, gosym.NewLineTable(table, text))
	if err != nil {
		return ""
	}
	i := slices.IndexFunc(t.Funcs, func(f gosym.Func) bool { return f.Entry <= at && at < f.End })
	if i < 0 {
		return ""
	}
	return t.Funcs[i].Name
}
