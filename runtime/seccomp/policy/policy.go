// Package policy assembles seccomp.Table into the instructions of zfilter.go. It is apart
// from package seccomp so that the sandbox process does not link the assembler and its
// tables of all architectures' call names.
//
// go-seccomp-bpf v1.6.0 assembles a policy with argument conditions on more than one call
// to a program that is too wide: when the conditions of one call fail, it goes on to the
// next call's number without loading the number again, and so compares it with the
// argument. futex with a refused operation and 1 in the upper half of that register would
// be taken for write. Here each call therefore gets a policy of its own, which the library
// assembles to a complete program with its check of the architecture and its default
// action, and a jump table in front picks the program by the call's number.
package policy

import (
	"fmt"

	elastic "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"

	"pinhole/runtime/seccomp"
)

var operations = map[seccomp.Op]elastic.Operation{
	seccomp.Equal:   elastic.Equal,
	seccomp.AtMost:  elastic.LessOrEqual,
	seccomp.AtLeast: elastic.GreaterOrEqual,
}

// Assemble turns a table into a filter program that answers what no row admits with
// action. The program is for the architecture that Assemble runs on.
func Assemble(table []seccomp.Row, action elastic.Action) ([]bpf.RawInstruction, error) {
	groups, err := group(table)
	if err != nil {
		return nil, err
	}
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, fmt.Errorf("assemble the filter: %w", err)
	}

	// The first group also answers for all other calls: its program follows the jump table.
	// The others follow in order.
	var programs [][]bpf.Instruction
	for _, g := range groups {
		p := elastic.Policy{DefaultAction: action, Syscalls: []elastic.SyscallGroup{g.SyscallGroup}}
		prog, err := p.Assemble()
		if err != nil {
			return nil, fmt.Errorf("assemble the filter for %s: %w", g.call, err)
		}
		programs = append(programs, prog)
	}
	const numberOffset = 0 // of struct seccomp_data, linux/seccomp.h
	out := []bpf.Instruction{bpf.LoadAbsolute{Off: numberOffset, Size: 4}}
	skip := len(programs[0])
	for i, g := range groups[1:] {
		number, ok := info.SyscallNames[g.call]
		if !ok {
			return nil, fmt.Errorf("assemble the filter: no call %s", g.call)
		}
		below := 2 * (len(groups) - 2 - i) // jump table entries behind this one
		out = append(out,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(number), SkipTrue: 1},
			bpf.Jump{Skip: uint32(below + skip)})
		skip += len(programs[i+1])
	}
	for _, prog := range programs {
		out = append(out, prog...)
	}
	return bpf.Assemble(out)
}

type callGroup struct {
	call string // empty: calls without conditions
	elastic.SyscallGroup
}

// group sorts rows by call, in the table's order, the calls without conditions first.
func group(table []seccomp.Row) ([]callGroup, error) {
	groups := []callGroup{{"", elastic.SyscallGroup{Action: elastic.ActionAllow}}}
	at := map[string]int{}
	for _, row := range table {
		if len(row.If) == 0 {
			groups[0].Names = append(groups[0].Names, row.Call)
			continue
		}
		var conds elastic.ArgumentConditions
		for _, c := range row.If {
			op, ok := operations[c.Op]
			if !ok {
				return nil, fmt.Errorf("%s: no such comparison: %d", row.Call, c.Op)
			}
			conds = append(conds, elastic.Condition{Argument: uint32(c.Arg), Operation: op, Value: c.Value})
		}
		i, ok := at[row.Call]
		if !ok {
			i = len(groups)
			at[row.Call] = i
			groups = append(groups, callGroup{row.Call, elastic.SyscallGroup{Action: elastic.ActionAllow}})
		}
		groups[i].NamesWithCondtions = append(groups[i].NamesWithCondtions, elastic.NameWithConditions{Name: row.Call, Conditions: conds})
	}
	if len(groups[0].Names) == 0 {
		return groups[1:], nil
	}
	for _, name := range groups[0].Names {
		if _, ok := at[name]; ok {
			return nil, fmt.Errorf("%s: rows with and without conditions", name)
		}
	}
	return groups, nil
}
