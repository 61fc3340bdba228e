package spec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var ignorePos = cmpopts.IgnoreTypes(Pos{})

const small = `# A comment.
abi 2

feature linux_gate 0
    There is a second gate.

noun file  Open files
    First paragraph,
    still the first.

    # a comment
    Second paragraph.

errors fd
    EBADF: fd is no
        open descriptor.
    EIO: broken.

retired 127 file_old
    Gone.
call 128 file_read(fd: fd, buf: addr, n: size) -> size    linux read
    Reads.
    errors fd
    EIO: the disk is broken.
    EINVAL: one.

    EINVAL: two.
call 130 file_pread(fd: fd, buf: addr, n: size, off: off) -> size linux pread64; linux odd[$0 = ARCH_SET_FS](-1, $1, 0x10, AT_FDCWD)
call 131 file_exit() -> never
`

func TestParse(t *testing.T) {
	got, err := Parse("small.abi", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	want := &File{
		Version:  2,
		Features: []Feature{{Name: "linux_gate", Bit: 0, Doc: []string{"There is a second gate."}}},
		Nouns:    []Noun{{Name: "file", Title: "Open files", Doc: []string{"First paragraph, still the first.", "Second paragraph."}}},
		Sets:     []ErrorSet{{Name: "fd", Errors: []CallError{{Name: "EBADF", Text: "fd is no open descriptor."}, {Name: "EIO", Text: "broken."}}}},
		Retired:  []Retired{{Number: 127, Name: "file_old", Doc: []string{"Gone."}}},
		Calls: []Call{
			{Number: 128, Name: "file_read", Args: []Arg{{"fd", FD}, {"buf", Addr}, {"n", Size}}, Result: Size,
				Linux: []Mapping{{Linux: "read"}}, Doc: []string{"Reads."}, Uses: []string{"fd"},
				Errors: []CallError{{Name: "EIO", Text: "the disk is broken."}, {Name: "EINVAL", Text: "one."}, {Name: "EINVAL", Text: "two."}}},
			{Number: 130, Name: "file_pread", Args: []Arg{{"fd", FD}, {"buf", Addr}, {"n", Size}, {"off", Off}}, Result: Size,
				Linux: []Mapping{{Linux: "pread64"}, {Linux: "odd", Guard: &Guard{0, Operand{Arg: -1, Name: "ARCH_SET_FS"}},
					Args: []Operand{{Arg: -1, Value: -1}, {Arg: 1}, {Arg: -1, Value: 16}, {Arg: -1, Name: "AT_FDCWD"}}}}},
			{Number: 131, Name: "file_exit", Result: Never},
		},
	}
	if diff := cmp.Diff(want, got, ignorePos, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if top := got.Top(); top != 132 {
		t.Errorf("top %d", top)
	}
	all := got.AllErrors(&got.Calls[0])
	wantAll := []CallError{{Name: "EBADF", Text: "fd is no open descriptor."}, {Name: "EINVAL", Text: "one."}, {Name: "EINVAL", Text: "two."},
		{Name: "EIO", Text: "the disk is broken."}}
	if diff := cmp.Diff(wantAll, all, ignorePos); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if !got.Calls[1].Linux[0].Same() || got.Calls[1].Linux[1].Same() {
		t.Error("which mapping takes the same arguments is wrong")
	}
}

func TestErrors(t *testing.T) {
	const head = "abi 1\nnoun a A\n"
	for text, want := range map[string]string{
		"":                                        `x:1:1: no "abi VERSION" line`,
		"noun a A\n":                              `x:1:1: the first directive must be "abi VERSION"`,
		"abi 0\n":                                 "x:1:5: versions count from 1",
		"abi x\n":                                 `x:1:5: expected a version of at most 2147483647, found "x"`,
		"abi 1 2\n":                               `x:1:7: expected the end of the line, found "2"`,
		"abi 1\nabi 1\n":                          "x:2:1: the version is stated twice",
		"abi 1\n\tcall\n":                         "x:2:1: tabs and control characters are not allowed",
		"abi 1\n\xff":                             "x:1:1: the text is not UTF-8",
		"abi 1\n  prose\n":                        "x:2:3: an indented line belongs to no directive",
		"abi 1\nfoo\n":                            `x:2:1: unknown directive "foo"`,
		"abi 1\nfeature a 64\n":                   `x:2:11: expected a bit number of at most 63, found "64"`,
		"abi 1\nfeature a 1\nfeature b 1":         "x:3:1: bit or name of feature b is taken",
		"abi 1\nnoun a_b A\n":                     `x:2:6: a noun has no "_"`,
		"abi 1\nnoun a\n":                         "x:2:7: expected a title",
		"abi 1\nnoun a A\nnoun a B\n":             "x:3:1: noun a is there twice",
		"abi 1\nnoun a A\n    EIO: x\n":           "x:3:5: this directive has no errors",
		head + "call 4096 a_b() -> none":          `x:3:6: expected a call number of at most 4095, found "4096 a_b() -"`,
		head + "call 01 a_b() -> none":            `x:3:6: expected a call number of at most 4095, found "01 a_b() -> "`,
		head + "call 1 a() -> none":               "x:3:1: a call's name is noun_verb",
		head + "call 1 A_b() -> none":             `x:3:8: expected a call's name, found "A_b() -> non"`,
		head + "call 1 a__b() -> none":            `x:3:8: expected a call's name, found "a__b() -> no"`,
		head + "call 1 b_c() -> none":             "x:3:1: noun b is not declared",
		head + "call 1 a_b( -> none":              `x:3:13: expected an argument's name, found "-> none"`,
		head + "call 1 a_b(x) -> none":            `x:3:13: expected ":", found ") -> none"`,
		head + "call 1 a_b(x: foo) -> int":        `x:3:15: expected a type of argument, found "foo) -> int"`,
		head + "call 1 a_b(x: none) ->int":        `x:3:15: expected a type of argument, found "none) ->int"`,
		head + "call 1 a_b(x: fd, x: fd) -> none": `x:3:19: argument named twice, found "x: fd) -> no"`,
		head + "call 1 a_b(a: fd, b: fd, c: fd, d: fd, e: fd, f: fd, g: fd) -> none": `x:3:57: a call has at most six arguments, found "fd) -> none"`,
		head + "call 1 a_b() none":                                     `x:3:14: expected "->", found "none"`,
		head + "call 1 a_b() -> path":                                  `x:3:17: expected a type of result, found "path"`,
		head + "call 1 a_b() -> none x":                                `x:3:22: expected "linux", found "x"`,
		head + "call 1 a_b() -> none linux":                            "x:3:27: expected the name of a Linux call, found the end of the line",
		head + "call 1 a_b() -> none linux x;":                         `x:3:30: expected "linux", found the end of the line`,
		head + "call 1 a_b(x: fd) -> none linux x()":                   "x:3:27: the mapping must give each of the call's arguments",
		head + "call 1 a_b(x: fd) -> none linux x($6)":                 `x:3:36: expected an argument's number of at most 5, found "6)"`,
		head + "call 1 a_b(x: fd) -> none linux x(z)":                  `x:3:35: expected $N, a constant or an integer, found "z)"`,
		head + "call 1 a_b(x: fd) -> none linux x[$0 = $1](1)":         `x:3:42: expected a constant before this, found "](1)"`,
		head + "call 1 a_b() -> none linux x; linux x":                 "x:3:31: Linux call x is mapped twice",
		head + "call 1 a_b() -> none linux x[$0=1](); linux x[$0=1]()": "x:3:39: Linux call x is mapped twice",
		head + "call 1 a_b() -> none\ncall 1 a_c() -> none":            "x:4:1: number 1 is taken; numbers are never reused",
		head + "call 1 a_b() -> none\ncall 2 a_b() -> none":            "x:4:1: name a_b is taken; names are never reused",
		head + "call 2 a_b() -> none\ncall 1 a_c() -> none":            "x:4:1: numbers must ascend",
		head + "retired 1 a_b\ncall 1 a_c() -> none":                   "x:4:1: number 1 is taken; numbers are never reused",
		head + "retired 1 a_b\nretired 2 a_b":                          "x:4:1: number or name of retired call a_b is there twice",
		head + "call 1 a_b() -> none\n    errors no\n":                 "x:3:1: error set no is not declared",
		head + "errors e\nerrors e\n":                                  "x:4:1: error set e is there twice",
		head + "call 1 a_b() -> none\n    EIO:\n":                      "x:4:9: when does EIO come?",
	} {
		_, err := Parse("x", []byte(text))
		var at *Error
		if !errors.As(err, &at) {
			t.Errorf("%q: %v, want %s", text, err, want)
		} else if got := err.Error(); got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestParseLinux(t *testing.T) {
	got, err := ParseLinux("x", []byte("# calls\n0   read\n2 open legacy\n"))
	want := []LinuxCall{{0, "read", false}, {2, "open", true}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for text, want := range map[string]string{
		"0":                `x:1:1: expected "NUMBER NAME [legacy]"`,
		"0 read old":       `x:1:1: expected "NUMBER NAME [legacy]"`,
		"x read":           `x:1:1: bad number "x"`,
		"1 read\n1 write":  "x:2:1: numbers must ascend",
		"1 read\n\n2 read": "x:3:1: name read is there twice",
	} {
		if _, err := ParseLinux("x", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// text reads the real text.
func text(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "pinhole.abi"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestText checks what the real text promises beyond its grammar: every call, noun and feature is
// described, calls say how they fail, and the calls of a noun stand together.
func TestText(t *testing.T) {
	f, err := Parse("pinhole.abi", text(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range f.Nouns {
		if len(n.Doc) == 0 {
			t.Errorf("noun %s is not described", n.Name)
		}
	}
	for _, x := range f.Features {
		if len(x.Doc) == 0 {
			t.Errorf("feature %s is not described", x.Name)
		}
	}
	order, known := 0, map[string]int{}
	for i, n := range f.Nouns {
		known[n.Name] = i
	}
	for i := range f.Calls {
		c := &f.Calls[i]
		if len(c.Doc) == 0 {
			t.Errorf("%s is not described", c.Name)
		}
		if known[c.Noun()] < order {
			t.Errorf("%s: number %d lies among those of noun %s", c.Name, c.Number, f.Nouns[order].Name)
		}
		order = known[c.Noun()]
		var errs []string
		for _, e := range f.AllErrors(c) {
			errs = append(errs, e.Name)
			if !strings.HasSuffix(e.Text, ".") {
				t.Errorf("%s: %s: %q is no sentence", c.Name, e.Name, e.Text)
			}
		}
		for _, a := range c.Args {
			want := ""
			switch a.Type {
			case FD:
				want = "EBADF"
			case Path:
				want = "ENOENT"
			}
			if want != "" && !strings.Contains(" "+strings.Join(errs, " ")+" ", " "+want+" ") {
				t.Errorf("%s takes a %s and does not say when it gives %s", c.Name, a.Type, want)
			}
		}
		for _, d := range c.Doc {
			if !strings.HasSuffix(d, ".") && !strings.HasSuffix(d, ":") {
				t.Errorf("%s: %q is no sentence", c.Name, d)
			}
		}
	}
}

// FuzzParse: whatever the text, Parse returns, and what it accepts keeps the rules that the generator
// relies on.
func FuzzParse(f *testing.F) {
	f.Add(text(f))
	f.Add([]byte(small))
	f.Fuzz(func(t *testing.T, text []byte) {
		out, err := Parse("x", text)
		if err != nil {
			var at *Error
			if !errors.As(err, &at) || at.Pos.Line < 1 || at.Pos.Col < 1 {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		numbers := map[int]bool{}
		for i := range out.Calls {
			c := &out.Calls[i]
			if numbers[c.Number] || c.Number > MaxCall || len(c.Args) > MaxArgs || c.Noun() == c.Name {
				t.Fatalf("accepted %+v", c)
			}
			numbers[c.Number] = true
			for _, a := range c.Args {
				if a.Type.Go() == "" {
					t.Fatalf("accepted an argument of type %q", a.Type)
				}
			}
			for _, m := range c.Linux {
				if m.Args != nil && len(m.Args) != len(c.Args) {
					t.Fatalf("accepted %+v", m)
				}
			}
			out.AllErrors(c)
		}
	})
}
