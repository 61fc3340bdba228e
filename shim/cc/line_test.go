package cc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	response := filepath.Join(t.TempDir(), "response")
	if err := os.WriteFile(response, []byte("-O2 -o 'my prog' \"a\\\"b.c\"\n-DX=\\ y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want line
	}{
		{"hello.c", line{links: true, output: "a.out", libs: true}},
		{"-c hello.c", line{output: "a.out", libs: true}},
		{"-o hello hello.c", line{links: true, output: "hello", libs: true}},
		{"-ohello hello.c -lm", line{links: true, output: "hello", libs: true}},
		{"-E -", line{output: "a.out", libs: true}},
		{"-v", line{output: "a.out", libs: true}},
		{"-O2 -I dir -x c", line{output: "a.out", libs: true}},
		{"--version", line{output: "a.out", version: true, libs: true}},
		{"-print-prog-name=ld", line{output: "a.out", libs: true}},
		{"-MF deps.c -M x.c", line{output: "a.out", libs: true}},
		{"-o conftest -g conftest.c", line{links: true, output: "conftest", native: true, libs: true}},
		{"-o conftest.o -c conftest.c", line{output: "conftest.o", libs: true}},
		{"--native --allow-syscall -nostdlib a.o", line{args: []string{"-nostdlib", "a.o"}, links: true, output: "a.out", allow: true, native: true}},
		{"@" + response, line{links: true, output: "my prog", libs: true}},
		{"@/nonexistent", line{links: true, output: "a.out", libs: true}},
	} {
		args := strings.Fields(c.args)
		if c.want.args == nil {
			c.want.args = args
		}
		got, err := parse(args)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		if diff := cmp.Diff(c.want, *got, cmp.AllowUnexported(line{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.args, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.WriteFile(loop, []byte("@"+loop), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"", "-shared -o x.so x.c", "-m32 x.c", "-pg x.c", "@" + loop} {
		if got, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%q was taken: %+v", args, got)
		}
	}
}

func TestObjectAt(t *testing.T) {
	text := `
 .text          0x0000000000001000       0x26 /lib/rcrt1.o
 .text.one      0x0000000000001040       0x10 a.o
 .text.a_function_with_a_long_name
                0x0000000000001050        0x8 lib.a(member.o)
                0x0000000000001050                a_function_with_a_long_name
`
	for at, want := range map[uint64]string{0x1000: "/lib/rcrt1.o", 0x104f: "a.o", 0x1050: "lib.a(member.o)", 0x1058: "", 0xfff: ""} {
		if got := objectAt(text, at); got != want {
			t.Errorf("%#x: %q, want %q", at, got, want)
		}
	}
}
