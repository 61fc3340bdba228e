package arch

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// topLevel is all that lies at the top of the tree; build is where commands put what they
// make, and is not committed.
var topLevel = []string{
	"abi", "blockdev", "fs", "net", "emu", "runtime", "shim", "cmd", "tests", "bench",
	"go.mod", "go.sum", "README.md", ".ci", ".gitignore", ".git", "build",
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(topLevel, e.Name()) {
			t.Errorf("%s does not belong at the top of the tree", e.Name())
		}
	}
}

// namespaces are folders whose names would shadow the standard library's as packages.
var namespaces = []string{"runtime", "fs", "net", "shim", "cmd", "tests", "bench", "."}

func TestNamespacesHoldNoPackage(t *testing.T) {
	for _, f := range goFiles(t) {
		if slices.Contains(namespaces, f.dir) {
			t.Errorf("%s: %s holds packages and is none", f.path, f.dir)
		}
	}
}

// generatedElsewhere are generated files whose names others depend on.
var generatedElsewhere = []string{"shim/include/pinhole.h"}

// TestGeneratedNames: generated files are called z*, so that nobody edits or reviews them
// by mistake.
func TestGeneratedNames(t *testing.T) {
	marked := regexp.MustCompile(`(?m)^(//|/\*) Code generated .* DO NOT EDIT\.`)
	walk(t, func(name string, content []byte) {
		switch path.Ext(name) {
		case ".go", ".s", ".h", ".c":
		default:
			return
		}
		base := path.Base(name)
		if marked.Match(content[:min(len(content), 400)]) && !strings.HasPrefix(base, "z") && !slices.Contains(generatedElsewhere, name) {
			t.Errorf("%s: is generated, but not called z*", name)
		}
	})
}

// TestFileLength: a file of more than 700 lines has more than one subject.
func TestFileLength(t *testing.T) {
	for _, f := range goFiles(t) {
		switch {
		case strings.HasPrefix(path.Base(f.path), "z"):
		case f.lines > 700:
			t.Errorf("%s has %d lines: split it", f.path, f.lines)
		case f.lines > 400:
			t.Logf("%s has %d lines: what else is it?", f.path, f.lines)
		}
	}
}

// TestPackageDocs: every package says what it is.
func TestPackageDocs(t *testing.T) {
	documented, where := map[string]bool{}, map[string]string{}
	for _, f := range goFiles(t) {
		if f.ignored || strings.HasSuffix(f.ast.Name.Name, "_test") {
			continue
		}
		if f.ast.Doc != nil {
			documented[f.dir] = true
		}
		where[f.dir] = f.path
	}
	for dir, name := range where {
		if !documented[dir] {
			t.Errorf("package of %s has no documentation", name)
		}
	}
}
