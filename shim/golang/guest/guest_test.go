package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pinhole/shim/golang/overlay"
	"pinhole/shim/nosyscall"
	"pinhole/tests/harness"
)

// older is a toolchain of the older release that is known.
const older = "go1.25.5"

// goroot asks a toolchain of the go command where it is; "" is the one that runs this test.
func goroot(t *testing.T, toolchain string) string {
	t.Helper()
	cmd := exec.Command("go", "env", "GOROOT")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if toolchain != "" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+toolchain)
	}
	out, err := cmd.Output()
	if err != nil && toolchain != "" {
		t.Skipf("%s cannot be had from the module proxy: %v", toolchain, err)
	}
	if err != nil {
		t.Fatalf("go env GOROOT: %v", err)
	}
	root := strings.TrimSpace(string(out))
	if toolchain != "" {
		// The go command admits no overlay of what is in the module cache.
		link := filepath.Join(t.TempDir(), "goroot")
		if err := os.Symlink(root, link); err != nil {
			t.Fatal(err)
		}
		root = link
	}
	return root
}

const program = `package main

import (
	"fmt"
	"os/exec"
	"time"
)

func main() { fmt.Println(time.Now(), exec.Command("x").Run()) }
`

// TestGenerate: with either release, what is built has no instruction left that enters a kernel, no
// dynamic linker, and only relocations that the start does.
func TestGenerate(t *testing.T) {
	for _, toolchain := range []string{"", older} {
		t.Run(toolchain, func(t *testing.T) {
			root := goroot(t, toolchain)
			dir := t.TempDir()
			list, err := Generate(root, filepath.Join(dir, "overlay"))
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{"main.go": program, "go.mod": "module m\n\ngo 1.25\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			main := filepath.Join(dir, "main")
			cmd := exec.Command(filepath.Join(root, "bin", "go"), "build", "-overlay", list, "-buildmode=pie", "-o", main, ".")
			cmd.Dir = dir
			cmd.Env = append(harness.GoEnvironment(), "GOTOOLCHAIN=local", "GOWORK=off", "GOROOT="+root)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", cmd, err, out)
			}
			if err := Finish(main); err != nil {
				t.Error(err)
			}
			sites, err := nosyscall.GoProgram(main)
			if err != nil || len(sites) > 0 {
				t.Errorf("%v\n%s", err, nosyscall.List(sites))
			}
			out, err := exec.Command(main).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "pinhole run") {
				t.Errorf("started on the host: %v, %q", err, out)
			}
		})
	}
}

func TestCheckVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"go1.26.8": true, "go1.26": true, "go1.26rc1": true, "go1.25.5 X:nocoverageredesign": true,
		"go1.24.9": false, "go1.27.1": false, "go1.2": false, "go1.250": false, "devel go1.27-abc": false, "": false,
	} {
		err := CheckVersion(version)
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), version) {
			t.Errorf("%q: %v", version, err)
		}
	}
}

// TestUnknown: a Go version whose files are not as they were is refused by its name, and the place named.
func TestUnknown(t *testing.T) {
	real, root := goroot(t, ""), t.TempDir()
	if _, err := Generate(root, filepath.Join(root, "out")); err == nil || !strings.Contains(err.Error(), "no Go installation") {
		t.Errorf("without VERSION: %v", err)
	}
	os.WriteFile(filepath.Join(root, "VERSION"), []byte("go1.24.1\n"), 0o666)
	if _, err := Generate(root, filepath.Join(root, "out")); err == nil || !strings.Contains(err.Error(), "not by go1.24.1") {
		t.Errorf("an old version: %v", err)
	}
	os.WriteFile(filepath.Join(root, "VERSION"), []byte("go1.26.99\n"), 0o666)
	files := []string{"internal/runtime/syscall/linux/asm_linux_amd64.s"}
	for _, c := range changes().Changes {
		files = append(files, c.File)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(real, "src", f))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(root, "src", f)
		os.MkdirAll(filepath.Dir(to), 0o777)
		os.WriteFile(to, text, 0o666)
	}
	if _, err := Generate(root, filepath.Join(root, "out")); err != nil {
		t.Fatalf("a copy: %v", err)
	}
	for _, c := range []struct{ file, old, new, want string }{
		{"runtime/sys_linux_amd64.s", "runtime·futex(SB)", "runtime·wait(SB)", "function wait makes 1 calls, want 0"},
		{"runtime/sys_linux_amd64.s", "runtime·futex(SB)", "runtime·wait(SB)", "no function futex makes a call"},
		{"runtime/sys_linux_amd64.s", "MOVL	$SYS_getpid, AX\n	SYSCALL", "CALL	getpid(SB)", "function raise makes 2 calls, want 3"},
		{"runtime/sys_linux_amd64.s", "$0x1002, DI", "$0x1003, DI", "settls sets something else"},
		{"runtime/sys_linux_amd64.s", "TEXT runtime·clone(SB),NOSPLIT|NOFRAME,$0", "TEXT runtime·clone(SB),NOSPLIT,$0", "clone has a frame"},
		{"runtime/rt0_linux_amd64.s", "_rt0_amd64_linux(SB)", "_rt0(SB)", "found 0 functions _rt0_amd64_linux"},
		{"runtime/time_linux_amd64.s", "SYSCALL", "INT $3", "function now makes 0 calls, want 2"},
		{"syscall/asm_linux_amd64.s", "·rawVforkSyscall(SB)", "·rawForkSyscall(SB)", "no function rawVforkSyscall"},
		{"internal/runtime/syscall/linux/asm_linux_amd64.s", "SYSCALL", "SYSENTER", "function Syscall6 makes 0"},
	} {
		path := filepath.Join(root, "src", c.file)
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(path, []byte(strings.ReplaceAll(string(old), c.old, c.new)), 0o666)
		_, err = Generate(root, filepath.Join(root, "out"))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "go1.26.99") {
			t.Errorf("%s changed: %v; want an error with %q and the version", c.file, err, c.want)
		}
		os.WriteFile(path, old, 0o666)
	}
}

// TestExit: behind the store that gives the thread's stack away, nothing is pushed on it.
func TestExit(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(goroot(t, ""), "src", "runtime", "sys_linux_amd64.s"))
	if err != nil {
		t.Fatal(err)
	}
	changed, err := changeRuntime(string(text))
	if err != nil {
		t.Fatal(err)
	}
	f, err := overlay.ParseAssembly(changed).Function("exitThread")
	if err != nil || strings.Contains(f.Body, "CALL") || !strings.Contains(f.Body, "JMP\truntime·pinholeCall") {
		t.Errorf("%v\n%s", err, f.Body)
	}
}

func TestChangeAssembly(t *testing.T) {
	for _, c := range []struct{ old, want string }{
		{"TEXT f(SB),4,$0\n\tSYSCALL\n\tRET\n", "TEXT f(SB),4,$0\n\t" + linuxCall + "\n\tRET\n"},
		{"\tMOVQ AX, BX; SYSCALL // enter\n", "\tMOVQ AX, BX; " + linuxCall + " // enter\n"},
		{"again:\tSYSCALL; JMP again\n", "again:\t" + linuxCall + "; JMP again\n"},
		{"#define CALLIT \\\n\tMOVQ $1, AX \\\n\tSYSCALL \\\n\tRET\n", "#define CALLIT \\\n\tMOVQ $1, AX \\\n\t" + linuxCall + " \\\n\tRET\n"},
		{"\tBYTE $0x0f; BYTE $0x05\n", "\t" + linuxCall + "\n"},
		{"\tBYTE\t$0x0F\n\tBYTE\t$0x05 // syscall\n\tRET\n", "\n\t" + linuxCall + " // syscall\n\tRET\n"},
		{"\tWORD $0x050f\n", "\t" + linuxCall + "\n"},
		{"\tJMP syscall·Syscall(SB)\n\tCALL SYSCALL(SB)\n// SYSCALL\n\tMOVL $SYSCALL, AX\n", ""},
		{"\tBYTE $0x0f; BYTE $0x31\n", ""},
	} {
		got, changed := ChangeAssembly(c.old)
		if changed != (c.want != "") || changed && got != c.want || !changed && got != c.old {
			t.Errorf("%q: %v\n got %q\nwant %q", c.old, changed, got, c.want)
		}
	}
}
