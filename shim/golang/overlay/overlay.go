// Package overlay makes overlays for "go build -overlay": files of a Go installation, changed at
// places that are found by name and structure. Packages host and guest say which.
//
// Nothing of Go's source is kept here. An overlay is made from the GOROOT that builds; a Go
// version in which a place is not what it is expected to be is refused by name.
package overlay

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// Change is a file of the Go installation that is built otherwise.
type Change struct {
	// File is the file's path below GOROOT/src, with slashes.
	File string
	// To makes the new content of the old.
	To func(old string) (string, error)
}

// Overlay is what changes for one kind of program.
type Overlay struct {
	// Changes are the files that change.
	Changes []Change
	// Added are files that are added: path below GOROOT/src, with slashes, and content.
	Added map[string]string
}

// Version returns the version of the Go installation at goroot, as in "go1.26.8".
func Version(goroot string) (string, error) {
	text, err := os.ReadFile(filepath.Join(goroot, "VERSION"))
	if err != nil {
		return "", fmt.Errorf("runtime overlay: %s is no Go installation: %w", goroot, err)
	}
	name, _, _ := strings.Cut(string(text), "\n")
	return name, nil
}

// Generate writes the overlay's files for the Go installation at goroot into outDir, and an
// overlay.json that names them, whose path it returns for "go build -overlay". outDir is made
// if need be. Writing is atomic per file and leaves alone what is as it should be, so builds may
// share one outDir, and the build cache stays good.
func (o *Overlay) Generate(goroot, outDir string) (overlayJSON string, err error) {
	name, err := Version(goroot)
	if err != nil {
		return "", err
	}
	if outDir, err = filepath.Abs(outDir); err != nil {
		return "", fmt.Errorf("runtime overlay: %w", err)
	}
	if err := os.MkdirAll(outDir, 0o777); err != nil {
		return "", fmt.Errorf("runtime overlay: %w", err)
	}
	replace := map[string]string{}
	put := func(file, text string) error {
		// One folder of files, whose names keep two of one base name apart.
		to := filepath.Join(outDir, strings.ReplaceAll(file, "/", "!"))
		replace[filepath.Join(goroot, "src", filepath.FromSlash(file))] = to
		return WriteFile(to, text)
	}
	var errs *multierror.Error
	for _, c := range o.Changes {
		path := filepath.Join(goroot, "src", filepath.FromSlash(c.File))
		old, err := os.ReadFile(path)
		if err != nil {
			errs = multierror.Append(errs, err)
			continue
		}
		text, err := c.To(string(old))
		if err != nil {
			errs = multierror.Append(errs, multierror.Prefix(err, c.File+":"))
			continue
		}
		if err := put(c.File, text); err != nil {
			errs = multierror.Append(errs, err)
		}
	}
	if errs != nil {
		errs.ErrorFormat = lines
		return "", fmt.Errorf("runtime overlay: %s at %s is not a Go version that Pinhole knows:%w", name, goroot, errs)
	}
	for file, text := range o.Added {
		if err := put(file, text); err != nil {
			return "", fmt.Errorf("runtime overlay: %w", err)
		}
	}
	// A module of its own, lest a pattern such as ./... takes the directory for a package.
	if err := WriteFile(filepath.Join(outDir, "go.mod"), "module overlay\n"); err != nil {
		return "", fmt.Errorf("runtime overlay: %w", err)
	}
	overlayJSON = filepath.Join(outDir, "overlay.json")
	if err := WriteJSON(overlayJSON, replace); err != nil {
		return "", fmt.Errorf("runtime overlay: %w", err)
	}
	return overlayJSON, nil
}

// lines shows each of several errors on a line.
func lines(errs []error) string {
	var b strings.Builder
	for _, err := range errs {
		fmt.Fprintf(&b, "\n\t%v", err)
	}
	return b.String()
}

// list is the content of an overlay.json (go help build).
type list struct{ Replace map[string]string }

// ReadJSON returns what the overlay.json at path replaces. Relative paths in it are taken from dir.
func ReadJSON(path, dir string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var l list
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all := make(map[string]string, len(l.Replace))
	for from, to := range l.Replace {
		if !filepath.IsAbs(from) {
			from = filepath.Join(dir, from)
		}
		if to != "" && !filepath.IsAbs(to) { // "": the file is gone
			to = filepath.Join(dir, to)
		}
		all[from] = to
	}
	return all, nil
}

// WriteJSON writes an overlay.json.
func WriteJSON(path string, replace map[string]string) error {
	text, err := json.MarshalIndent(list{replace}, "", "\t")
	if err != nil {
		return err
	}
	return WriteFile(path, string(text)+"\n")
}

// WriteFile puts text in place at once, and leaves a file alone that holds it already.
func WriteFile(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	t, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = t.WriteString(text)
	if err1 := t.Chmod(0o666); err == nil {
		err = err1
	}
	if err1 := t.Close(); err == nil {
		err = err1
	}
	if err == nil {
		err = os.Rename(t.Name(), path)
	}
	if err != nil {
		os.Remove(t.Name())
	}
	return err
}
