package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpToDate fails when the text or the generator changed and the files were not made anew.
func TestUpToDate(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	if err := run(root, true, false); err != nil {
		t.Error(err)
	}
}

// TestStale: a file that was changed by hand is noticed, and made right again.
func TestStale(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	copyRoot := t.TempDir()
	for _, f := range []string{"abi/pinhole.abi", "abi/linux/amd64.tbl"} {
		text, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(copyRoot, f)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(copyRoot, true, false); err == nil {
		t.Error("missing files passed for made")
	}
	if err := run(copyRoot, false, false); err != nil {
		t.Fatal(err)
	}
	if err := run(copyRoot, true, false); err != nil {
		t.Error(err)
	}
	for _, o := range outputs {
		made, err := os.ReadFile(filepath.Join(copyRoot, o.path))
		if err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(filepath.Join(root, o.path))
		if err != nil || string(made) != string(kept) {
			t.Errorf("%s differs from the tree's: %v", o.path, err)
		}
	}
	changed := filepath.Join(copyRoot, outputs[0].path)
	if err := os.WriteFile(changed, []byte("package abi\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(copyRoot, true, false); err == nil || !strings.Contains(err.Error(), "go generate") {
		t.Errorf("a changed file: %v", err)
	}
}

// TestMissing: calls without a handler are found.
func TestMissing(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	in, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	src := "package emu\n\ntype Task struct{}\n\nfunc (t *Task) fileRead() {}\nfunc (t Task) fileWrite() {}\nfunc fileSeek() {}\n"
	if err := os.WriteFile(filepath.Join(dir, "file.go"), []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	missing, err := missingHandlers(dir, in.File)
	if err != nil {
		t.Fatal(err)
	}
	if missing["file_read"] || !missing["file_write"] || !missing["file_seek"] || len(missing) != len(in.Calls)-1 {
		t.Errorf("missing: %v", missing)
	}
}

// TestLinuxNames: a mapping to a call that Linux does not have is refused.
func TestLinuxNames(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"pinhole.abi":     "abi 1\nnoun a A\ncall 1 a_b() -> none linux nothing\n",
		"linux/amd64.tbl": "0 read\n",
	} {
		path := filepath.Join(root, "abi", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := load(root)
	if want := "abi/pinhole.abi:3:22: Linux has no call nothing"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestHeader compiles the C header, strictly, in C and in assembly, and makes sure that its helpers take all
// their arguments.
func TestHeader(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is not installed")
	}
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := `#include <pinhole.h>
long use(const void *g, const unsigned long *stack)
{
	struct ph_info info = {0, 0, 0};
	return ph_call0(g, PH_PROC_PID) + ph_call1(g, PH_FD_CLOSE, 1) + ph_call2(g, PH_SYS_ABI, (long)&info, sizeof info)
		+ ph_call3(g, PH_FILE_READ, 1, 2, 3) + ph_call4(g, 4, 1, 2, 3, 4) + ph_call5(g, 5, 1, 2, 3, 4, 5)
		+ ph_call6(g, PH_MEM_MAP, 1, 2, 3, 4, 5, 6) + (long)ph_auxval(ph_auxv(stack), AT_PINHOLE_GATE);
}
`
	for name, src := range map[string]string{"use.c": c, "use.S": "#include <pinhole.h>\nmov $PH_FILE_READ, %eax\n"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		args := []string{"-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-ffreestanding", "-mno-red-zone",
			"-I", filepath.Join(root, "shim", "include"), "-c", "-o", filepath.Join(dir, "out.o"), file}
		if said, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, said)
		}
	}
}
