// Package spec reads pinhole.abi, the text from which everything about the ABI is generated.
//
// The text is lines. A line that starts in the first column is a directive; indented lines
// below it belong to it; "#" at the start of a line (after blanks) makes it a comment.
//
//	abi VERSION                              first directive, exactly once
//	feature NAME BIT                         a bit of the feature word that sys_abi gives
//	noun NAME TITLE                          a group of calls: the part of a name before its first "_"
//	errors NAME                              a set of errors that several calls share
//	retired NUMBER NAME                      a call that was; its number and name are never used again
//	call NUMBER NAME(ARG: TYPE, ...) -> TYPE   [linux MAPPING; linux MAPPING ...]
//
// Indented lines are prose, where an empty line parts paragraphs, or one of
//
//	ENAME: text                              an error of the call or set, and when it comes
//	errors NAME                              the errors of a set, in a call only
//
// Lines indented deeper than the error they follow continue its text.
//
// A MAPPING says which Linux call the same handler answers:
//
//	read                                     same arguments in the same order
//	open(AT_FDCWD, $0, $1, $2)               the call's arguments in terms of the Linux call's ($0 to $5),
//	                                         integers, and constants of package abi
//	arch_prctl[$0 = ARCH_SET_FS]($1)         only when the condition holds
//
// Call numbers and names are unique and numbers ascend, so that two branches which add calls
// conflict in the text and not in the field.
package spec

import "fmt"

// Limits of what the text may say. MaxCall keeps the dispatch table small and the numbers
// below the range in which Linux's own are passed on.
const (
	MaxArgs    = 6
	MaxCall    = 0xfff
	MaxFeature = 63
)

// Pos is a place in the text: line and column count from 1, columns in bytes.
type Pos struct {
	Line, Col int
}

func (p Pos) String() string { return fmt.Sprintf("%d:%d", p.Line, p.Col) }

// Error is what is wrong with a text, and where.
type Error struct {
	File string
	Pos  Pos
	Msg  string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%s: %s", e.File, e.Pos, e.Msg) }

// Type is the type of an argument or a result.
type Type string

// The types. Addr and Path are guest addresses; a path is a NUL-terminated string there. FD, Int
// and PID are signed 32-bit numbers, UInt is unsigned; the upper halves of their registers are
// ignored. Never is the result of a call that does not return, None of one that returns 0.
const (
	FD    Type = "fd"
	Int   Type = "int"
	UInt  Type = "uint"
	PID   Type = "pid"
	Addr  Type = "addr"
	Path  Type = "path"
	Size  Type = "size"
	Off   Type = "off"
	I64   Type = "i64"
	U64   Type = "u64"
	None  Type = "none"
	Never Type = "never"
)

// goTypes gives the type of a handler's parameter for each type that an argument can have.
var goTypes = map[Type]string{
	FD: "int32", Int: "int32", UInt: "uint32", PID: "int32", Addr: "abi.Addr", Path: "abi.Addr",
	Size: "uint64", Off: "int64", I64: "int64", U64: "uint64",
}

// Go returns the Go type of a handler's parameter of type t, "" for the types of results alone.
func (t Type) Go() string { return goTypes[t] }

// Arg is one argument of a call.
type Arg struct {
	Name string
	Type Type
}

// CallError is an error that a call gives, and when.
type CallError struct {
	Name string // "EBADF"
	Text string
	Pos  Pos
}

// Operand is an argument of a mapped call: Linux's argument Arg, or a constant, of which Name is
// the name in package abi or Value the value.
type Operand struct {
	Arg   int // -1: a constant
	Name  string
	Value int64
}

// Mapping is a Linux call that a call answers.
type Mapping struct {
	Linux string
	Guard *Guard
	Args  []Operand // nil: the same arguments in the same order
	Pos   Pos
}

// Guard restricts a mapping to Linux calls whose argument Arg equals the operand.
type Guard struct {
	Arg   int
	Equal Operand
}

// Same reports whether a call with Linux's own arguments may be made by the ABI's number.
func (m *Mapping) Same() bool { return m.Args == nil && m.Guard == nil }

// Call is one call of the ABI.
type Call struct {
	Number int
	Name   string // noun_verb
	Args   []Arg
	Result Type
	Linux  []Mapping
	Doc    []string // paragraphs
	Errors []CallError
	Uses   []string // names of error sets
	Pos    Pos
}

// Noun returns the part of the name before the first "_".
func (c *Call) Noun() string { return noun(c.Name) }

// Feature is a bit of the feature word.
type Feature struct {
	Name string
	Bit  int
	Doc  []string
	Pos  Pos
}

// Noun is a group of calls.
type Noun struct {
	Name  string
	Title string
	Doc   []string
	Pos   Pos
}

// ErrorSet is a set of errors that calls share.
type ErrorSet struct {
	Name   string
	Doc    []string
	Errors []CallError
	Pos    Pos
}

// Retired is a number and name out of use.
type Retired struct {
	Number int
	Name   string
	Doc    []string
	Pos    Pos
}

// File is a whole text.
type File struct {
	Version  int
	Features []Feature
	Nouns    []Noun
	Sets     []ErrorSet
	Calls    []Call
	Retired  []Retired
}

// Top returns one more than the highest call number.
func (f *File) Top() int {
	if len(f.Calls) == 0 {
		return 0
	}
	return f.Calls[len(f.Calls)-1].Number + 1
}

// AllErrors returns a call's errors, those of its sets included, sorted by name as written; an
// error that the call states itself hides the set's.
func (f *File) AllErrors(c *Call) []CallError {
	var all []CallError
	seen := map[string]bool{}
	for _, e := range c.Errors {
		seen[e.Name] = true
		all = append(all, e)
	}
	for _, use := range c.Uses {
		for _, s := range f.Sets {
			if s.Name != use {
				continue
			}
			for _, e := range s.Errors {
				if !seen[e.Name] {
					seen[e.Name] = true
					all = append(all, e)
				}
			}
		}
	}
	sortErrors(all)
	return all
}
