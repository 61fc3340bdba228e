package overlay

import (
	"fmt"
	"regexp"
	"strings"
)

// Assembly is a file of Go assembly, cut into its functions and what is between them.
type Assembly struct{ parts []*Function }

// Function is a function of an assembly file, or with an empty name text between functions.
type Function struct {
	Name string // without its package, as in "futex"
	Head string // the TEXT line, with its end
	Body string // the lines after it
}

// textLine begins a function: TEXT package·name<ABI>(SB), flags, sizes. The package is often left out.
var textLine = regexp.MustCompile(`^TEXT\s+[\w∕.]*?·?(\w+)(?:<\w*>)?\(SB\)`)

// ParseAssembly cuts a file. A function ends where the next begins, or a comment in the first
// column.
func ParseAssembly(text string) *Assembly {
	a := &Assembly{}
	at := &Function{}
	a.parts = append(a.parts, at)
	for line := range strings.Lines(text) {
		switch m := textLine.FindStringSubmatch(line); {
		case m != nil:
			at = &Function{Name: m[1], Head: line}
			a.parts = append(a.parts, at)
			continue
		case at.Name != "" && strings.HasPrefix(line, "//"):
			at = &Function{}
			a.parts = append(a.parts, at)
		}
		at.Body += line
	}
	return a
}

// String puts the file together again.
func (a *Assembly) String() string {
	var b strings.Builder
	for _, f := range a.parts {
		b.WriteString(f.Head)
		b.WriteString(f.Body)
	}
	return b.String()
}

// Functions returns the functions in order.
func (a *Assembly) Functions() []*Function {
	var all []*Function
	for _, f := range a.parts {
		if f.Name != "" {
			all = append(all, f)
		}
	}
	return all
}

// Function returns the one function of that name.
func (a *Assembly) Function(name string) (*Function, error) {
	var found []*Function
	for _, f := range a.parts {
		if f.Name == name {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("found %d functions %s, want 1", len(found), name)
	}
	return found[0], nil
}

// Replace puts text, a whole function with its head, in the function's place.
func (f *Function) Replace(text string) { f.Head, f.Body = text, "\n" }

// site is a line with a SYSCALL instruction: behind a label perhaps, before a comment perhaps.
var site = regexp.MustCompile(`(?m)^([ \t]*(?:\w+:)?[ \t]*)SYSCALL([ \t]*(?://.*)?)$`)

// Calls returns the number of SYSCALL instructions in the function.
func (f *Function) Calls() int { return len(site.FindAllStringIndex(f.Body, -1)) }

// ReplaceCalls puts instead, an instruction or several, in the place of each SYSCALL instruction.
func (f *Function) ReplaceCalls(instead string) {
	f.Body = site.ReplaceAllStringFunc(f.Body, func(line string) string {
		m := site.FindStringSubmatch(line)
		return m[1] + instead + m[2]
	})
}
