package golang

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestChangeSources(t *testing.T) {
	dir := t.TempDir()
	plain, entering := filepath.Join(dir, "a.s"), filepath.Join(dir, "b.s")
	os.WriteFile(plain, []byte("TEXT ·f(SB),4,$0\n\tRET\n"), 0o666)
	os.WriteFile(entering, []byte("TEXT ·g(SB),4,$0\n\tSYSCALL\n\tRET\n"), 0o666)
	args := []string{"-p", "x", "-trimpath", dir + "=>mod", "-o", "out.o", plain, entering}
	done, err := changeSources(args)
	if err != nil {
		t.Fatal(err)
	}
	copied := args[7]
	if args[6] != plain || copied == entering || args[3] != copied+"=>mod/b.s;"+dir+"=>mod" {
		t.Errorf("%q", args)
	}
	text, err := os.ReadFile(copied)
	if err != nil || strings.Contains(string(text), "SYSCALL") || !strings.Contains(string(text), "pinholeLinuxCall") {
		t.Errorf("%v: %q", err, text)
	}
	done()
	if _, err := os.Stat(copied); err == nil {
		t.Error("the copy is still there")
	}
	if _, err := changeSources([]string{filepath.Join(dir, "none.s")}); err == nil {
		t.Error("a file that is not there")
	}
}

func TestValue(t *testing.T) {
	args := []string{"-o", "a.out", "-buildmode=pie", "x"}
	if value(args, "-o") != "a.out" || value(args, "-buildmode") != "pie" || value(args, "-q") != "" || value([]string{"-o"}, "-o") != "" {
		t.Errorf("%q", args)
	}
	var user []string
	if err := DecodeWord(EncodeWord([]string{"a b", "'"}), &user); err != nil || len(user) != 2 || user[0] != "a b" {
		t.Errorf("%q, %v", user, err)
	}
}
