package golang

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct{ command, args, flags, rest string }{
		{"build", "-o out -v ./cmd -x", "o=out v", "./cmd -x"},
		{"build", "-tags=a,b --trimpath -ldflags -s .", "tags=a,b trimpath ldflags=-s", "."},
		{"run", "-race=false . -overlay x", "race=false", ". -overlay x"},
		{"run", "-exec a -- -v", "exec=a", "-- -v"},
		{"test", "-v ./... -run X -count=1 -args -run Y", "v run=X count=1", "./... -args -run Y"},
		{"test", "-test.v -test.run X . -overlay o", "test.v test.run=X overlay=o", "."},
		{"test", "-c", "c", ""},
		{"build", "-o", "o", ""},
		{"build", "- x", "", "- x"},
	} {
		flags, rest := split(c.command, strings.Fields(c.args))
		var got []string
		for _, f := range flags {
			s := f.name
			if f.given {
				s += "=" + f.value
			}
			got = append(got, s)
		}
		if f, r := strings.Join(got, " "), strings.Join(rest, " "); f != c.flags || r != c.rest {
			t.Errorf("%s %s: flags %q, rest %q; want %q, %q", c.command, c.args, f, r, c.flags, c.rest)
		}
	}
}

func TestFields(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", nil}, {" a  b\t", []string{"a", "b"}}, {`'a b' "c'd" e"f`, []string{"a b", "c'd", `e"f`}},
		{`''`, []string{""}}, {`'a`, nil},
	} {
		got, ok := fields(c.text)
		if ok == (c.text == `'a`) || !cmp.Equal(got, c.want) && ok {
			t.Errorf("%q: %q, %v", c.text, got, ok)
		}
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("a b", "c'd")
	f.Add("", `e"f`)
	f.Fuzz(func(t *testing.T, a, b string) {
		line, err := join([]string{a, b})
		if err != nil {
			if !strings.Contains(a, "'") && !strings.Contains(b, "'") {
				t.Error(err)
			}
			return
		}
		if got, ok := fields(line); !ok || !cmp.Equal(got, []string{a, b}) {
			t.Errorf("%q and %q became %s, and that %q", a, b, line, got)
		}
	})
}

func TestSubcommand(t *testing.T) {
	for _, c := range []struct{ args, command, where, rest string }{
		{"build .", "build", "", "."},
		{"-C dir test -v", "test", "-C dir", "-v"},
		{"test -C=dir -v", "test", "-C=dir", "-v"},
		{"", "help", "", ""},
		{"mod tidy", "mod", "", "tidy"},
	} {
		command, where, rest := subcommand(strings.Fields(c.args))
		if command != c.command || strings.Join(where, " ") != c.where || strings.Join(rest, " ") != c.rest {
			t.Errorf("%s: %q %q %q", c.args, command, where, rest)
		}
	}
}

func env() map[string]string {
	return map[string]string{"GOVERSION": "go1.26.8", "GOOS": "linux", "GOARCH": "amd64"}
}

// TestTake: what is merged is taken out, the rest stays as it is and in its order.
func TestTake(t *testing.T) {
	for _, c := range []struct{ command, goflags, args, want, overlay, toolexec string }{
		{"build", "", "-o x -overlay o.json -v . -overlay y", "-o x -v . -overlay y", "o.json", ""},
		{"test", "-overlay=a.json", "-v ./a -toolexec=t ./b -run X -args -overlay z", "-v ./a ./b -run X -args -overlay z", "a.json", "t"},
		{"test", "-overlay=a.json", "-buildmode pie -overlay=b.json .", ".", "b.json", ""},
		{"run", "'-toolexec=a b'", ". -toolexec c", ". -toolexec c", "", "a b"},
		{"test", "", ". -c", ". -c", "", ""},
	} {
		w := wrapper{command: c.command}
		if err := w.take(c.goflags, strings.Fields(c.args)); err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		if got := strings.Join(w.args, " "); got != c.want || w.overlay != c.overlay || w.toolexec != c.toolexec {
			t.Errorf("%s: %q, overlay %q, toolexec %q", c.args, got, w.overlay, w.toolexec)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-race .", "-race"}, {"-msan .", "-msan"}, {"-asan=1 .", "-asan"}, {"-race=false .", ""},
		{"-buildmode=plugin .", "-buildmode=plugin"}, {"-buildmode exe .", ""}, {"-buildmode=pie .", ""},
		{"-ldflags=-linkmode=external .", "-linkmode"}, {"-compiler gccgo .", "gccgo"}, {"-linkshared .", "-linkshared"},
		{"-o race .", ""},
	} {
		w := wrapper{command: "build"}
		err := w.take("", strings.Fields(c.args))
		if err == nil {
			err = w.check(env())
		}
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
	for name, value := range map[string]string{"GOOS": "windows", "GOARCH": "arm64", "GOVERSION": "go1.24.1"} {
		e := env()
		e[name] = value
		if err := new(wrapper).check(e); err == nil || !strings.Contains(err.Error(), value) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	w := wrapper{command: "build"}
	if err := w.take("-race", []string{"."}); err != nil || w.check(env()) == nil {
		t.Errorf("GOFLAGS=-race: %v, admitted", err)
	}
	t.Setenv("CGO_ENABLED", "1")
	if err := new(wrapper).check(env()); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=1") {
		t.Errorf("CGO_ENABLED=1: %v", err)
	}
}

func TestTrim(t *testing.T) {
	for _, c := range []struct{ path, rules, want string }{
		{"/m/x@v1/a.s", "/tmp/b001=>;/m/x@v1=>x@v1", "x@v1/a.s"},
		{"/m/x@v1/a.s", "/m/x=>", "/m/x@v1/a.s"},
		{"/tmp/b001/a.s", "/tmp/b001=>", "a.s"},
		{"/tmp/b001/a.s", "/tmp/b001", "a.s"},
		{"/a.s", "", "/a.s"},
	} {
		if got := trim(c.path, c.rules); got != c.want {
			t.Errorf("%s by %s: %s, want %s", c.path, c.rules, got, c.want)
		}
	}
}
