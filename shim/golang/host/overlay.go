// Package host makes the Go runtime under the kernel: an overlay for "go build -overlay" with
// which pinhole-kernel lives on read, write, mmap, futex, exit and exit_group.
//
// Nothing of Go's source is kept here. The overlay is made from the GOROOT that builds, by
// finding the places to change; a Go version that does not have them is refused by name.
package host

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// Generate writes the changed runtime files for the Go installation at goroot into outDir, and
// an overlay.json that names them, whose path it returns for "go build -overlay". outDir
// is made if need be. Writing is atomic per file, so builds may share one outDir.
func Generate(goroot, outDir string) (overlayJSON string, err error) {
	version, err := os.ReadFile(filepath.Join(goroot, "VERSION"))
	if err != nil {
		return "", fmt.Errorf("runtime overlay: %s is no Go installation: %w", goroot, err)
	}
	name, _, _ := strings.Cut(string(version), "\n")
	if outDir, err = filepath.Abs(outDir); err != nil {
		return "", fmt.Errorf("runtime overlay: %w", err)
	}
	if err := os.MkdirAll(outDir, 0o777); err != nil {
		return "", fmt.Errorf("runtime overlay: %w", err)
	}
	replace := map[string]string{}
	var errs *multierror.Error
	for _, f := range files {
		path := filepath.Join(goroot, "src", "runtime", f.name)
		old, err := os.ReadFile(path)
		if err != nil {
			errs = multierror.Append(errs, err)
			continue
		}
		text, err := f.change(string(old))
		if err != nil {
			errs = multierror.Append(errs, fmt.Errorf("%s: %w", path, err))
			continue
		}
		to := filepath.Join(outDir, filepath.Base(f.name))
		if err := writeFile(to, text); err != nil {
			errs = multierror.Append(errs, err)
			continue
		}
		replace[path] = to
	}
	if err := errs.ErrorOrNil(); err != nil {
		return "", fmt.Errorf("runtime overlay: %s is not a Go version that this one knows: %w", name, err)
	}
	// A module of its own, lest a pattern such as ./... takes the directory for a package.
	if err := writeFile(filepath.Join(outDir, "go.mod"), "module overlay\n"); err != nil {
		return "", fmt.Errorf("runtime overlay: %w", err)
	}
	added := filepath.Join(outDir, lockFile)
	if err := writeFile(added, lockSource); err != nil {
		return "", fmt.Errorf("runtime overlay: %w", err)
	}
	replace[filepath.Join(goroot, "src", "runtime", lockFile)] = added
	list, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "\t")
	if err != nil {
		return "", err
	}
	overlayJSON = filepath.Join(outDir, "overlay.json")
	if err := writeFile(overlayJSON, string(list)+"\n"); err != nil {
		return "", fmt.Errorf("runtime overlay: %w", err)
	}
	return overlayJSON, nil
}

// writeFile puts text in place at once, and leaves a file alone that holds it already, so that
// the build cache stays good.
func writeFile(path, text string) error {
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
