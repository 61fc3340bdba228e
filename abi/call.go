package abi

//go:generate go run ../cmd/abigen

// LinuxBase is added to a Linux call's number to make it through the ABI's gate: back-ends use
// it for calls that the ABI has none for, or takes with other arguments.
const LinuxBase = 0x10000

// Type is the type of a call's argument or result: how to print it, and how much of the
// register counts.
type Type uint8

// The types. A path is the address of a NUL-terminated string. FD, Int and PID are signed and
// UInt unsigned 32-bit numbers, Size and U64 unsigned and Off and I64 signed 64-bit ones. A call
// of result TypeNone returns 0, one of TypeNever does not return.
const (
	TypeNone Type = iota
	TypeNever
	TypeFD
	TypeInt
	TypeUInt
	TypePID
	TypeAddr
	TypePath
	TypeSize
	TypeOff
	TypeI64
	TypeU64
)

// Arg is an argument of a call.
type Arg struct {
	Name string
	Type Type
}

// Call describes a call of the ABI.
type Call struct {
	Name   string // noun_verb
	Args   []Arg
	Result Type
	Errors []Errno // that it may return, by name
}

// LookupCall returns what the text says of call nr, nil for a number that is none. The
// description is shared and must not be changed.
func LookupCall(nr uint64) *Call {
	if nr >= uint64(len(calls)) || calls[nr].Name == "" {
		return nil
	}
	return &calls[nr]
}

// LinuxName returns the name of Linux's call nr on x86-64, "" for a number that is none.
func LinuxName(nr uint64) string {
	if nr >= uint64(len(linuxNames)) {
		return ""
	}
	return linuxNames[nr]
}

// constant makes a constant of the Linux tables an argument.
func constant(v int64) uint64 { return uint64(v) }
