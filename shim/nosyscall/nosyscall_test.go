package nosyscall

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The sources hold the instructions, and what only looks like them.
const (
	clean = `
void data(void) { __asm__ volatile ("movabs $0x80cd340f050f, %%rax" ::: "rax"); }
int main(void) { data(); return 0; }
`
	dirty = `
void one(void) { __asm__ volatile ("syscall" ::: "rcx", "r11"); }
void two(void) { __asm__ volatile ("sysenter"); }
void three(void) { __asm__ volatile ("int $0x80"); }
void four(void) { __asm__ volatile ("int $0x81; int3"); }
int main(void) { return 0; }
`
)

func build(t *testing.T, source string, flags ...string) string {
	t.Helper()
	for _, tool := range []string{"gcc", "objdump"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	c, out := filepath.Join(dir, "in.c"), filepath.Join(dir, "out")
	if err := os.WriteFile(c, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("gcc", append(flags, "-O0", "-o", out, c)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return out
}

func found(sites []Site) []string {
	var out []string
	for _, s := range sites {
		out = append(out, s.Function+": "+s.Instruction)
	}
	return out
}

func TestObject(t *testing.T) {
	want := []string{"one: syscall", "two: sysenter", "three: int $0x80"}
	sites, err := Archive(t.Context(), build(t, dirty, "-c"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, found(sites)); diff != "" {
		t.Errorf("sites (-want +got):\n%s", diff)
	}
	if sites, err = Archive(t.Context(), build(t, clean, "-c")); err != nil || len(sites) != 0 {
		t.Errorf("clean object: %v, %v", sites, err)
	}
}

func TestProgram(t *testing.T) {
	want := []string{"one: syscall", "two: sysenter", "three: int $0x80"}
	sites, err := Program(t.Context(), build(t, dirty))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, found(sites)); diff != "" {
		t.Errorf("sites (-want +got):\n%s", diff)
	}
	if sites, err = Program(t.Context(), build(t, clean)); err != nil || len(sites) != 0 {
		t.Errorf("clean program: %v, %v", sites, err)
	}
	if _, err := Program(t.Context(), "nosyscall.go"); err == nil {
		t.Error("a text passed for a program")
	}
}
