package overlay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const assembly = `// head
#define X SYSCALL
TEXT runtime·first(SB),NOSPLIT,$0-8
	SYSCALL
again:	SYSCALL // twice
	RET

// about the second
TEXT ·second<ABIInternal>(SB),NOSPLIT,$0
	MOVL	$SYSCALL, AX
	RET
TEXT _third(SB),4,$0
	RET
TEXT runtime∕x·first(SB),NOSPLIT,$0
	RET
`

func TestAssembly(t *testing.T) {
	a := ParseAssembly(assembly)
	if a.String() != assembly {
		t.Errorf("put together: %q", a.String())
	}
	var names []string
	for _, f := range a.Functions() {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "first second _third first" {
		t.Errorf("functions %s", got)
	}
	if _, err := a.Function("first"); err == nil || !strings.Contains(err.Error(), "found 2 functions first") {
		t.Errorf("first: %v", err)
	}
	f := a.Functions()[0]
	if f.Calls() != 2 || a.Functions()[1].Calls() != 0 {
		t.Errorf("%d and %d calls", f.Calls(), a.Functions()[1].Calls())
	}
	f.ReplaceCalls("CALL\tx(SB)")
	if want := "\tCALL\tx(SB)\nagain:\tCALL\tx(SB) // twice\n\tRET\n\n"; f.Body != want {
		t.Errorf("%q, want %q", f.Body, want)
	}
	second, err := a.Function("second")
	if err != nil {
		t.Fatal(err)
	}
	second.Replace("TEXT ·other(SB),4,$0\n\tRET\n")
	if s := a.String(); strings.Contains(s, "second<") || !strings.Contains(s, "TEXT ·other(SB),4,$0\n\tRET\n\nTEXT _third") {
		t.Errorf("%s", s)
	}
}

func TestJSON(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "o.json")
	if err := WriteJSON(path, map[string]string{"a.go": "b.go", "/x/c.go": "", "/x/d.go": "/y/e.go"}); err != nil {
		t.Fatal(err)
	}
	got, err := ReadJSON(path, "/dir")
	if err != nil || len(got) != 3 || got["/dir/a.go"] != "/dir/b.go" || got["/x/d.go"] != "/y/e.go" {
		t.Errorf("%v, %v", got, err)
	}
	if to, ok := got["/x/c.go"]; !ok || to != "" {
		t.Errorf("a file that is gone: %q, %v", to, ok)
	}
	os.WriteFile(path, []byte("{"), 0o666)
	if _, err := ReadJSON(path, dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("no JSON: %v", err)
	}
}

func TestGenerate(t *testing.T) {
	root := t.TempDir()
	os.MkdirAll(filepath.Join(root, "src", "p"), 0o777)
	os.WriteFile(filepath.Join(root, "VERSION"), []byte("go1.0\nx\n"), 0o666)
	os.WriteFile(filepath.Join(root, "src", "p", "a.go"), []byte("old"), 0o666)
	o := Overlay{
		Changes: []Change{{"p/a.go", func(old string) (string, error) { return old + " and new", nil }}},
		Added:   map[string]string{"q/a.go": "added"},
	}
	list, err := o.Generate(root, filepath.Join(root, "out"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := ReadJSON(list, root)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"p/a.go": "old and new", "q/a.go": "added"} {
		if got, err := os.ReadFile(all[filepath.Join(root, "src", file)]); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
}
