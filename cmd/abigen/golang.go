package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"

	"pinhole/abi/spec"
)

// typeNames gives the name of each type in package abi.
var typeNames = map[spec.Type]string{
	spec.None: "TypeNone", spec.Never: "TypeNever", spec.FD: "TypeFD", spec.Int: "TypeInt", spec.UInt: "TypeUInt",
	spec.PID: "TypePID", spec.Addr: "TypeAddr", spec.Path: "TypePath", spec.Size: "TypeSize", spec.Off: "TypeOff",
	spec.I64: "TypeI64", spec.U64: "TypeU64",
}

// goCalls makes the constants and the table of calls.
func goCalls(in *input) ([]byte, error) {
	p := &page{}
	p.f("// %s\n\npackage abi\n\n", generated)
	p.f("// Version is the version of the ABI that sys_abi gives.\nconst Version = %d\n\n", in.Version)
	if len(in.Features) > 0 {
		p.f("// Bits of Info.Features.\nconst (\n")
		for _, f := range in.Features {
			for _, l := range wrap(strings.Join(f.Doc, " "), 90) {
				p.f("\t// %s\n", l)
			}
			p.f("\tFeature%s = 1 << %d\n", camel(f.Name), f.Bit)
		}
		p.f(")\n\n")
	}
	p.f("// Numbers of the calls.\nconst (\n")
	for i, c := range in.Calls {
		if i > 0 && c.Noun() != in.Calls[i-1].Noun() {
			p.f("\n")
		}
		p.f("\tCall%s = %d\n", camel(c.Name), c.Number)
	}
	p.f(")\n\n// CallTop is one more than the highest number of a call.\nconst CallTop = %d\n\n", in.Top())
	p.f("var calls = [CallTop]Call{\n")
	for i := range in.Calls {
		c := &in.Calls[i]
		p.f("\tCall%s: {Name: %q, Result: %s", camel(c.Name), c.Name, typeNames[c.Result])
		if len(c.Args) > 0 {
			p.f(",\n\t\tArgs: []Arg{")
			for _, a := range c.Args {
				p.f("{%q, %s}, ", a.Name, typeNames[a.Type])
			}
			p.f("}")
		}
		if errs := errorNames(in.AllErrors(c)); len(errs) > 0 {
			p.f(",\n\t\tErrors: []Errno{%s}", strings.Join(errs, ", "))
		}
		p.f("},\n")
	}
	p.f("}\n")
	return p.gofmt()
}

// errorNames returns each name once, in order.
func errorNames(errs []spec.CallError) []string {
	var out []string
	for _, e := range errs {
		if len(out) == 0 || out[len(out)-1] != e.Name {
			out = append(out, e.Name)
		}
	}
	return out
}

// goLinux makes the names of Linux's calls and their translation.
func goLinux(in *input) ([]byte, error) {
	p := &page{}
	p.f("// %s\n\npackage abi\n\n", generated)
	p.f("// linuxNames holds the names of Linux's calls on x86-64.\nvar linuxNames = [...]string{\n")
	for _, l := range in.linux {
		p.f("\t%d: %q,\n", l.Number, l.Name)
	}
	p.f("}\n\n")
	p.f("// FromLinux translates a call of Linux on x86-64: nr and args are Linux's, out gets the arguments of\n" +
		"// the call whose number it returns. ok is false where no call of the ABI answers it. args and out\n" +
		"// must not be the same.\n")
	p.f("func FromLinux(nr uint64, args, out *[6]uint64) (call uint64, ok bool) {\n\tswitch nr {\n")
	for _, l := range in.linux {
		maps := in.mapping[l.Name]
		if len(maps) == 0 {
			continue
		}
		p.f("\tcase %d: // %s\n", l.Number, l.Name)
		for _, m := range maps {
			if m.Guard != nil {
				p.f("\t\tif args[%d] == %s {\n", m.Guard.Arg, goOperand(m.Guard.Equal))
			}
			if m.Args == nil {
				p.f("\t\t*out = *args\n")
			}
			for i, o := range m.Args {
				p.f("\t\tout[%d] = %s\n", i, goOperand(o))
			}
			p.f("\t\treturn Call%s, true\n", camel(m.call.Name))
			if m.Guard != nil {
				p.f("\t\t}\n")
			}
		}
	}
	p.f("\t}\n\treturn 0, false\n}\n")
	return p.gofmt()
}

func goOperand(o spec.Operand) string {
	if o.Arg >= 0 {
		return "args[" + string(rune('0'+o.Arg)) + "]"
	}
	return "constant(" + o.String() + ")"
}

// goDispatch makes the switch that the kernel enters handlers through.
func goDispatch(in *input) ([]byte, error) {
	p := &page{}
	p.f("// %s\n\npackage emu\n\nimport \"pinhole/abi\"\n\n", generated)
	p.f("// dispatch makes call nr with arguments a for t and returns what the guest gets: a value, or an\n" +
		"// error negated. It does not allocate.\n")
	p.f("func (t *Task) dispatch(nr uint64, a *[6]uint64) int64 {\n\tvar v uint64\n\tvar e abi.Errno\n\tswitch nr {\n")
	for _, c := range in.Calls {
		if in.missing[c.Name] {
			continue
		}
		p.f("\tcase abi.Call%s:\n\t\tv, e = t.%s(", camel(c.Name), handler(c.Name))
		for i, a := range c.Args {
			if i > 0 {
				p.f(", ")
			}
			if a.Type.Go() == "uint64" {
				p.f("a[%d]", i)
			} else {
				p.f("%s(a[%d])", a.Type.Go(), i)
			}
		}
		p.f(")\n")
	}
	p.f("\tdefault:\n\t\tif nr >= abi.LinuxBase {\n\t\t\treturn t.dispatchLinux(nr-abi.LinuxBase, a)\n\t\t}\n\t\treturn -int64(abi.ENOSYS)\n\t}\n")
	p.f("\tif e != 0 {\n\t\treturn -int64(e)\n\t}\n\treturn int64(v)\n}\n\n")
	p.f("// dispatchLinux is as dispatch for a call of Linux on x86-64, with Linux's number and arguments.\n")
	p.f("func (t *Task) dispatchLinux(nr uint64, a *[6]uint64) int64 {\n\tvar b [6]uint64\n\tcall, ok := abi.FromLinux(nr, a, &b)\n" +
		"\tif !ok {\n\t\treturn -int64(abi.ENOSYS)\n\t}\n\treturn t.dispatch(call, &b)\n}\n")
	return p.gofmt()
}

// missingHandlers returns the calls for which package emu in dir has no method of *Task yet.
func missingHandlers(dir string, f *spec.File) (map[string]bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || len(fn.Recv.List) != 1 {
				continue
			}
			if star, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
				if id, ok := star.X.(*ast.Ident); ok && id.Name == "Task" {
					have[fn.Name.Name] = true
				}
			}
		}
	}
	missing := map[string]bool{}
	for _, c := range f.Calls {
		if !have[handler(c.Name)] {
			missing[c.Name] = true
		}
	}
	return missing, nil
}
