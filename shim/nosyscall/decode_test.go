package nosyscall

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"pinhole/tests/harness"
)

// TestLengths: instructions begin where objdump says that they do, in this test program and in whatever
// vector code it has.
func TestLengths(t *testing.T) {
	if _, err := exec.LookPath("objdump"); err != nil {
		t.Skip("objdump is not installed (Debian package binutils)")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := f.Section(".text")
	code, err := text.Data()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("objdump", "-d", "-j", ".text", "--no-show-raw-insn", self).Output()
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^\s+([0-9a-f]+):\s+(.*)`)
	last, n, what := -1, 0, ""
	for l := range bytes.Lines(out) {
		m := line.FindSubmatch(l)
		if m == nil {
			last = -1 // a function begins
			continue
		}
		at, err := strconv.ParseUint(string(m[1]), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		off := int(at - text.Addr)
		if last >= 0 && what != "(bad)" {
			if got := length(code[last:]); got != off-last {
				t.Errorf("%#x: %q (% x) has %d bytes, not %d", last+int(text.Addr), what, code[last:off], off-last, got)
			}
			n++
		}
		last, what = off, string(m[2])
	}
	if n < 100_000 {
		t.Errorf("only %d instructions compared", n)
	}
}

func TestEntering(t *testing.T) {
	for _, c := range []struct {
		code string
		want int
	}{
		{"\x0f\x05", 1},
		{"\x48\x0f\x05\x90\x0f\x34\xcd\x80", 3},
		{"\xb8\x0f\x05\x00\x00", 0},         // mov $0x50f, %eax
		{"\x48\x8d\x05\x0f\x05\x00\x00", 0}, // lea 0x50f(%rip), %rax
		{"\xcd\x81\x0f\x0b\x0f", 0},
	} {
		if got := entering([]byte(c.code)); len(got) != c.want {
			t.Errorf("% x: %d at %v", c.code, c.want, got)
		}
	}
}

// TestGoProgram: a plain Go program makes its calls in a few functions, which are named.
func TestGoProgram(t *testing.T) {
	dir := t.TempDir()
	main := filepath.Join(dir, "main.go")
	if err := os.WriteFile(main, []byte("package main\n\nfunc main() { println(1) }\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, flags := range []string{"", "-s -w"} {
		cmd := exec.Command("go", "build", "-ldflags", flags, "-o", filepath.Join(dir, "main"), main)
		cmd.Env = harness.GoEnvironment()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		sites, err := GoProgram(filepath.Join(dir, "main"))
		if err != nil {
			t.Fatal(err)
		}
		named := map[string]bool{}
		for _, s := range sites {
			named[s.Function] = true
		}
		if len(sites) < 20 || !named["runtime.futex"] || !named["runtime.clone"] || named[""] {
			t.Errorf("-ldflags %q: %d sites\n%s", flags, len(sites), List(sites))
		}
	}
}

func FuzzLength(f *testing.F) {
	f.Add([]byte("\x62\xf1\x7c\x48\x10\x05\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := length(b); n < 0 || n > len(b) {
			t.Errorf("% x: %d", b, n)
		}
		entering(b)
		functions(b, len(b))
	})
}
