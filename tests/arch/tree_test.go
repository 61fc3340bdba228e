// Package arch holds the tests of the tree itself: what may import what, what lies where,
// and who may call the host.
package arch

import (
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "pinhole"

// file is one Go file of the tree.
type file struct {
	path    string // from the root, with slashes
	dir     string
	test    bool // a _test.go file, or in a package for tests
	ignored bool // built only by naming it
	lines   int
	imports []string // import paths
	ast     *ast.File
}

// root is the top of the tree, where go.mod is.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

// walk calls f for every file of the tree that is not built or fetched.
func walk(t *testing.T, f func(name string, content []byte)) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, name)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == "build" || rel == ".git" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f(rel, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// goFiles parses every Go file of the tree. The go command is not asked, since the test
// cache does not know what it looked at.
func goFiles(t *testing.T) []*file {
	t.Helper()
	var out []*file
	set := token.NewFileSet()
	walk(t, func(name string, content []byte) {
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "/testdata/") {
			return
		}
		tree, err := parser.ParseFile(set, name, content, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		f := &file{path: name, dir: path.Dir(name), ast: tree, lines: strings.Count(string(content), "\n")}
		f.test = strings.HasSuffix(name, "_test.go") || forTests(f.dir)
		f.ignored = ignored(content)
		for _, i := range tree.Imports {
			f.imports = append(f.imports, strings.Trim(i.Path.Value, "`\""))
		}
		out = append(out, f)
	})
	return out
}

// forTests tells whether a package is there for tests to import.
func forTests(dir string) bool {
	return under(dir, "tests") || under(dir, "bench") || under(dir, "fs/vfs/vfstest")
}

// ignored tells whether a file has the build constraint "ignore".
func ignored(content []byte) bool {
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "package ") {
			return false
		}
		if x, err := constraint.Parse(strings.TrimSpace(line)); err == nil {
			return !x.Eval(func(tag string) bool { return tag != "ignore" })
		}
	}
	return false
}

// under tells whether a slash-separated path is dir or below it.
func under(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

func underAny(name string, dirs []string) bool {
	for _, d := range dirs {
		if under(name, d) {
			return true
		}
	}
	return false
}
