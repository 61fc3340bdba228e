package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-multierror"
)

type checkCmd struct{}

func (checkCmd) Run(ctx context.Context, t *tree) error {
	var errs *multierror.Error
	errs = multierror.Append(errs, t.check(ctx))
	errs = multierror.Append(errs, t.staticcheck(ctx))
	errs = multierror.Append(errs, t.fresh(ctx))
	if err := errs.ErrorOrNil(); err != nil {
		return err
	}
	t.ui.say("checked: vet, staticcheck, formatting, generated files")
	return nil
}

// check is what can be said of the source without running it.
func (t *tree) check(ctx context.Context) error {
	var errs *multierror.Error
	t.ui.progress("checking with go vet", 0, 0)
	if err := run(t.goCmd(ctx, "vet", "./...")); err != nil {
		errs = multierror.Append(errs, err)
	}
	t.ui.progress("checking the formatting", 0, 0)
	unformatted, err := t.gofmt(ctx)
	if err != nil {
		errs = multierror.Append(errs, err)
	}
	if unformatted != "" {
		errs = multierror.Append(errs, fmt.Errorf("not formatted; run gofmt -w on: %s", unformatted))
	}
	return errs.ErrorOrNil()
}

// staticcheck runs the checker of that name. Not asked for: names that only assembly uses
// (U1000), flags written out in full where one is zero (SA4016), messages that begin with a
// name (ST1005).
func (t *tree) staticcheck(ctx context.Context) error {
	t.ui.progress("checking with staticcheck", 0, 0)
	return run(t.goCmd(ctx, "run", "honnef.co/go/tools/cmd/staticcheck@v0.8.2", "-checks", "inherit,-U1000,-SA4016,-ST1005", "./..."))
}

// gofmt lists the files that are not formatted.
func (t *tree) gofmt(ctx context.Context) (string, error) {
	goroot, err := t.goCmd(ctx, "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for GOROOT: %w", err)
	}
	var dirs []string
	entries, err := os.ReadDir(t.root)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != "build" && !strings.HasPrefix(e.Name(), ".") {
			dirs = append(dirs, e.Name())
		}
	}
	cmd := t.goCmd(ctx)
	cmd.Path = filepath.Join(string(bytes.TrimSpace(goroot)), "bin", "gofmt")
	cmd.Args = append([]string{"gofmt", "-l"}, dirs...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gofmt: %w\n%s", err, out)
	}
	return strings.Join(strings.Fields(string(out)), " "), nil
}

type generateCmd struct{}

func (generateCmd) Run(ctx context.Context, t *tree) error {
	t.ui.progress("generating", 0, 0)
	return run(t.goCmd(ctx, "generate", "./..."))
}

// fresh generates everything anew and says which files were not up to date. They are then.
func (t *tree) fresh(ctx context.Context) error {
	before, err := t.generated()
	if err != nil {
		return err
	}
	if err := (generateCmd{}).Run(ctx, t); err != nil {
		return err
	}
	after, err := t.generated()
	if err != nil {
		return err
	}
	var stale []string
	for name, content := range after {
		if before[name] != content {
			stale = append(stale, name)
		}
	}
	if len(stale) > 0 {
		return fmt.Errorf("generated files were not up to date, and are now: %s", strings.Join(stale, ", "))
	}
	return nil
}

// generated reads all generated files: those that say so.
func (t *tree) generated() (map[string]string, error) {
	out := map[string]string{}
	err := filepath.WalkDir(t.root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != t.root && (base == "build" || strings.HasPrefix(base, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if bytes.Contains(content[:min(len(content), 400)], []byte("Code generated ")) {
			rel, _ := filepath.Rel(t.root, name)
			out[rel] = string(content)
		}
		return nil
	})
	return out, err
}
