package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

type fuzzCmd struct {
	Time   time.Duration `default:"30s" help:"How long to run each."`
	Filter string        `arg:"" optional:"" help:"Run only fuzzers whose package and name contain this."`
}

// fuzzer is one fuzz test.
type fuzzer struct{ pkg, name string }

func (c fuzzCmd) Run(ctx context.Context, t *tree) error {
	all, err := t.fuzzers()
	if err != nil {
		return err
	}
	failed := 0
	for _, f := range all {
		if !strings.Contains(f.pkg+"."+f.name, c.Filter) {
			continue
		}
		t.ui.say("%s %s for %v", f.pkg, f.name, c.Time)
		cmd := t.goCmd(ctx, "test", "-run", "^$", "-fuzz", "^"+f.name+"$", "-fuzztime", c.Time.String(), f.pkg)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d fuzzers found something", failed)
	}
	return nil
}

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// fuzzers finds the fuzz tests of the tree.
func (t *tree) fuzzers() ([]fuzzer, error) {
	var out []fuzzer
	err := filepath.WalkDir(t.root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != t.root && (base == "build" || base == "testdata" || strings.HasPrefix(base, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(t.root, filepath.Dir(name))
		for _, m := range fuzzFunc.FindAllSubmatch(content, -1) {
			out = append(out, fuzzer{"./" + filepath.ToSlash(rel), string(m[1])})
		}
		return nil
	})
	return out, err
}
