package main

import (
	"fmt"
	"strings"

	"pinhole/abi/spec"
)

// reference makes the page that describes each call.
func reference(in *input) ([]byte, error) {
	p := &page{}
	p.f("<!-- %s -->\n\n# Pinhole's calls\n\n", generated)
	p.f("ABI version %d, %d calls.\n\n", in.Version, len(in.Calls))
	p.f(`A call puts its number in rax and its arguments in rdi, rsi, rdx, r10, r8 and r9, and CALLs the gate, whose
address is in the auxiliary vector under AT_PINHOLE_GATE (0x50480001). rax holds the result: a value, or an error
number negated. The call keeps rbx, rbp, rsp and r12 to r15, as any function, and no other register. Structs are
Linux x86-64's.

A number that is no call is ENOSYS. A number from 0x10000 on is a call of Linux x86-64, translated as the lines
"Linux" below say. Types: fd, int and pid are signed and uint unsigned 32-bit numbers, whose registers' upper halves
are ignored; size and u64 are unsigned, off and i64 signed 64-bit ones; addr is an address, path that of a
NUL-terminated string. "none" is the result 0.

`)
	for _, n := range in.Nouns {
		p.f("- [%s](#%s)\n", n.Title, anchor(n.Title))
	}
	if len(in.Features) > 0 {
		p.f("\n## Features\n\nBits of the feature word that sys_abi gives.\n\n| bit | name | meaning |\n|---|---|---|\n")
		for _, f := range in.Features {
			p.f("| %d | %s | %s |\n", f.Bit, f.Name, strings.Join(f.Doc, " "))
		}
	}
	for _, n := range in.Nouns {
		p.f("\n## %s\n", n.Title)
		for _, d := range n.Doc {
			p.f("\n%s\n", fill(d))
		}
		for i := range in.Calls {
			if in.Calls[i].Noun() == n.Name {
				referenceCall(p, in, &in.Calls[i])
			}
		}
	}
	if len(in.Retired) > 0 {
		p.f("\n## Retired\n\n")
		for _, r := range in.Retired {
			p.f("- %d %s. %s\n", r.Number, r.Name, strings.Join(r.Doc, " "))
		}
	}
	return p.Bytes(), nil
}

func referenceCall(p *page, in *input, c *spec.Call) {
	var args []string
	for _, a := range c.Args {
		args = append(args, a.Name+": "+string(a.Type))
	}
	p.f("\n### %s\n\n    %d  %s(%s) -> %s\n", c.Name, c.Number, c.Name, strings.Join(args, ", "), c.Result)
	for _, d := range c.Doc {
		p.f("\n%s\n", fill(d))
	}
	if errs := in.AllErrors(c); len(errs) > 0 {
		p.f("\n")
		for _, e := range errs {
			p.f("- %s: %s\n", e.Name, e.Text)
		}
	}
	if len(c.Linux) == 0 {
		p.f("\nLinux: none.\n")
		return
	}
	var maps []string
	for _, m := range c.Linux {
		s := m.Linux
		if m.Guard != nil {
			s += fmt.Sprintf(" where $%d is %s", m.Guard.Arg, m.Guard.Equal)
		}
		if m.Args != nil {
			var ops []string
			for _, o := range m.Args {
				ops = append(ops, o.String())
			}
			s += " as " + c.Name + "(" + strings.Join(ops, ", ") + ")"
		}
		maps = append(maps, s)
	}
	p.f("\nLinux: %s.\n", strings.Join(maps, "; "))
}

// anchor is the fragment that Markdown viewers give a heading.
func anchor(title string) string {
	return strings.ReplaceAll(strings.ToLower(title), " ", "-")
}

// wrap breaks text into lines of at most width bytes, where it has blanks.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

func fill(text string) string { return strings.Join(wrap(text, 110), "\n") }
