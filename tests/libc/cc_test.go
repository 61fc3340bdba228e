package libc

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pinhole/tests/harness"
)

// compiler is pinhole cc or c++ in a folder of its own.
type compiler struct {
	t            *testing.T
	pinhole, dir string
}

func newCompiler(t *testing.T) *compiler {
	harness.Sysroot(t)
	return &compiler{t: t, pinhole: harness.Pinhole(t), dir: t.TempDir()}
}

func (c *compiler) write(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	return path
}

func (c *compiler) run(args ...string) harness.Result {
	c.t.Helper()
	return harness.Exec(c.t, c.dir, "", c.pinhole, args...)
}

func (c *compiler) must(args ...string) harness.Result {
	c.t.Helper()
	r := c.run(args...)
	if r.Status != 0 {
		c.t.Fatalf("pinhole %s: exit status %d\n%s%s", strings.Join(args, " "), r.Status, r.Stdout, r.Stderr)
	}
	return r
}

const hello = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n"

// TestCompilerOutput: what comes out is what the kernel loads.
func TestCompilerOutput(t *testing.T) {
	c := newCompiler(t)
	c.write("hello.c", hello)
	for _, test := range []struct {
		flags string
		typ   elf.Type
	}{
		{"", elf.ET_DYN}, {"-static", elf.ET_DYN}, {"-static-pie -O2 -g", elf.ET_DYN}, {"-pthread -fstack-protector-strong -D_FORTIFY_SOURCE=2 -O2", elf.ET_DYN},
		{"-no-pie -fno-pie", elf.ET_EXEC}, {"-flto", elf.ET_DYN}, {"-Wl,-s", elf.ET_DYN},
	} {
		out := filepath.Join(c.dir, "out")
		c.must(append(append([]string{"cc"}, strings.Fields(test.flags)...), "-o", out, "hello.c")...)
		f, err := elf.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		if f.Type != test.typ {
			t.Errorf("%q makes a program of type %v", test.flags, f.Type)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%q makes a program with an interpreter", test.flags)
			}
		}
		if libs, _ := f.ImportedLibraries(); len(libs) > 0 {
			t.Errorf("%q makes a program that needs %v", test.flags, libs)
		}
		f.Close()
		if r := c.run("run", out); r.Status != 0 || r.Stdout != "hello\n" {
			t.Errorf("%q: exit status %d, %q\n%s", test.flags, r.Status, r.Stdout, r.Stderr)
		}
	}
}

// TestCompilerStages: everything but linking is the compiler's own business.
func TestCompilerStages(t *testing.T) {
	c := newCompiler(t)
	c.write("hello.c", hello)
	if r := c.must("cc", "-E", "hello.c"); !strings.Contains(r.Stdout, "int puts") || strings.Contains(r.Stdout, "/usr/include") {
		t.Error("the preprocessor did not take the sysroot's headers")
	}
	if r := c.must("cc", "-S", "-o", "-", "hello.c"); !strings.Contains(r.Stdout, "call\tputs") {
		t.Errorf("assembly:\n%s", r.Stdout)
	}
	if r := c.must("cc", "-MM", "hello.c"); r.Stdout != "hello.o: hello.c\n" {
		t.Errorf("dependencies %q", r.Stdout)
	}
	c.must("cc", "-c", "hello.c")
	c.must("cc", "hello.o")
	if _, err := elf.Open(filepath.Join(c.dir, "a.out")); err != nil {
		t.Error(err)
	}
	if r := c.must("cc", "--version"); !strings.HasPrefix(r.Stdout, "pinhole cc") || !strings.Contains(r.Stdout, "gcc") {
		t.Errorf("version %q", r.Stdout)
	}
	if r := c.must("cc", "-print-file-name=libc.a"); !strings.HasSuffix(strings.TrimSpace(r.Stdout), "sysroot/lib/libc.a") {
		t.Errorf("libc.a is %q", r.Stdout)
	}
	if r := c.must("cc", "--help"); !strings.Contains(r.Stdout, "--allow-syscall") {
		t.Errorf("help %q", r.Stdout)
	}
	// An error of the compiler's is its own, with its status.
	c.write("bad.c", "int main(void) { return x; }\n")
	if r := c.run("cc", "bad.c"); r.Status != 1 || !strings.Contains(r.Stderr, "undeclared") || strings.Contains(r.Stderr, "pinhole cc:") {
		t.Errorf("exit status %d\n%s", r.Status, r.Stderr)
	}
}

// TestCallNumbers: whichever header names a call, its number is the ABI's.
func TestCallNumbers(t *testing.T) {
	c := newCompiler(t)
	for _, header := range []string{"sys/syscall.h", "syscall.h", "asm/unistd.h", "linux/unistd.h"} {
		c.write("numbers.c", "#include <"+header+">\n#include <sys/syscall.h>\n#include <pinhole.h>\n"+
			"_Static_assert(__NR_read == PH_FILE_READ && SYS_read == PH_FILE_READ && __NR_execve == PH_LINUX_BASE + 59, \"\");\n"+
			"#ifdef SYS_open\n#error a legacy call\n#endif\n")
		c.must("cc", "-c", "numbers.c")
	}
}

// TestRefusals: what cannot work is said at build time, with what to do.
func TestRefusals(t *testing.T) {
	c := newCompiler(t)
	c.write("hello.c", hello)
	c.write("raw.c", "long raw(void) { long r; __asm__ volatile (\"syscall\" : \"=a\"(r) : \"a\"(39) : \"rcx\", \"r11\"); return r; }\n")
	c.write("main.c", "long raw(void);\nint main(void) { return raw() <= 0; }\n")
	c.must("cc", "-c", "raw.c")
	r := c.run("cc", "-o", "out", "main.c", "raw.o")
	for _, want := range []string{"raw.o", "raw", "syscall", "--allow-syscall"} {
		if r.Status != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("a system call instruction: exit status %d, no %q in\n%s", r.Status, want, r.Stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(c.dir, "out")); err == nil {
		t.Error("the refused program is there")
	}
	c.must("cc", "--allow-syscall", "-o", "out", "main.c", "raw.o")
	if r := c.run("run", filepath.Join(c.dir, "out")); r.Status != 0 {
		t.Errorf("the Linux table did not answer getpid: exit status %d\n%s", r.Status, r.Stderr)
	}
	for _, flag := range []string{"-shared", "-m32"} {
		if r := c.run("cc", flag, "hello.c"); r.Status != 1 || !strings.HasPrefix(r.Stderr, "pinhole cc: "+flag+": ") {
			t.Errorf("%s: exit status %d, %q", flag, r.Status, r.Stderr)
		}
	}
	// Libraries of the machine's are made for another C library.
	if r := c.run("cc", "hello.c", "-lstdc++"); r.Status == 0 {
		t.Error("the machine's libstdc++ was linked")
	}
}

const language = `
#include <stdio.h>
struct Base { virtual ~Base() { puts("~Base"); } virtual int value() const { return 1; } };
struct Derived : Base { int v; Derived(int v) : v(v) { if (v > 9) throw v; } int value() const override { return v; } };
static thread_local Derived local(3);
template <class T> T twice(T x) { return x + x; }
int main()
{
	try {
		Base *b = new Derived(2);
		printf("%d %d %d\n", b->value(), dynamic_cast<Derived *>(b) != nullptr, twice(local.v));
		delete b;
		Derived bad(10);
	} catch (int v) {
		printf("caught %d\n", v);
	}
}
`

// TestCPlusPlus: the language itself works: classes, exceptions, run-time types, thread-local objects.
func TestCPlusPlus(t *testing.T) {
	harness.Tool(t, "g++", "g++")
	c := newCompiler(t)
	c.write("language.cc", language)
	c.must("c++", "-O2", "-o", "language", "language.cc")
	const want = "2 1 6\n~Base\n~Base\ncaught 10\n~Base\n"
	if r := c.run("run", filepath.Join(c.dir, "language")); r.Status != 0 || r.Stdout != want {
		t.Errorf("exit status %d, %q, want %q\n%s", r.Status, r.Stdout, want, r.Stderr)
	}
}

// TestAutoconf: GNU hello, which was built by configure and make with CC="pinhole cc" alone, runs.
func TestAutoconf(t *testing.T) {
	guest, native := app(t, "hello")
	want := harness.Exec(t, "", "", native, "-g", "five calls")
	got := harness.Exec(t, "", "", harness.Pinhole(t), "run", guest, "-g", "five calls")
	if got != want || got.Stdout != "five calls\n" {
		t.Errorf("%+v, want %+v", got, want)
	}
}
