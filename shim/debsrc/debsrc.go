// Package debsrc fetches the source packages of the machine's own Debian release, by the
// ordinary package client and from the places it is already set up for.
//
// Fresh machines list binary packages only. The list of source packages is derived from the
// machine's own at run time and kept in a private folder, together with the client's state: the
// machine's set-up is read and never changed, and no privilege is needed. The client checks all
// signatures.
package debsrc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"pinhole/shim/lockfile"
)

// Fetcher fetches source packages into a folder. Its methods may be called concurrently, also by
// several processes on the same folder: they take turns.
type Fetcher struct {
	// Dir holds the client's state, the packages as fetched, and the unpacked sources.
	Dir string
	// Progress, if not nil, is told what is being done.
	Progress func(what string)

	mu sync.Mutex
}

// Etc is where the package client's own lists of places are.
const etc = "/etc/apt"

// Fetch returns the folder with the unpacked source of the newest version of a package, with
// Debian's patches applied, and that version. What has been fetched before is used again, without
// the network.
func (f *Fetcher) Fetch(ctx context.Context, name string) (dir, version string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("source package %s: %w", name, err)
		}
	}()
	unlock, err := lockfile.Lock(filepath.Join(f.Dir, "lock"))
	if err != nil {
		return "", "", err
	}
	defer unlock()

	dest := filepath.Join(f.Dir, name)
	src := filepath.Join(dest, "source")
	if v, err := os.ReadFile(filepath.Join(dest, "version")); err == nil {
		return src, strings.TrimSpace(string(v)), nil
	}
	for _, tool := range []string{"apt-get", "dpkg-source"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", "", fmt.Errorf("%s is not installed; packages apt and dpkg-dev of Debian have what is needed", tool)
		}
	}
	// An earlier try may have left half of it.
	if err := os.RemoveAll(dest); err != nil {
		return "", "", err
	}
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return "", "", err
	}
	options, err := f.configure(ctx)
	if err != nil {
		return "", "", err
	}
	f.say("fetching the source package " + name)
	if _, err := run(ctx, dest, "apt-get", append(options, "source", "--download-only", "-qq", name)...); err != nil {
		return "", "", err
	}
	control, err := filepath.Glob(filepath.Join(dest, "*.dsc"))
	if err != nil || len(control) != 1 {
		return "", "", fmt.Errorf("expected one .dsc file in %s, found %d", dest, len(control))
	}
	text, err := os.ReadFile(control[0])
	if err != nil {
		return "", "", err
	}
	if version = field(text, "Version"); version == "" {
		return "", "", fmt.Errorf("%s has no version", control[0])
	}
	// The client has checked the file's signature by the release's.
	if _, err := run(ctx, dest, "dpkg-source", "--no-check", "-q", "-x", control[0], src); err != nil {
		return "", "", err
	}
	return src, version, os.WriteFile(filepath.Join(dest, "version"), []byte(version+"\n"), 0o644)
}

func (f *Fetcher) say(what string) {
	if f.Progress != nil {
		f.Progress(what)
	}
}

// configure makes the client's private folder once and returns the options that select it.
func (f *Fetcher) configure(ctx context.Context) ([]string, error) {
	apt := filepath.Join(f.Dir, "apt")
	abs, err := filepath.Abs(apt)
	if err != nil {
		return nil, err
	}
	options := []string{
		"-o", "Dir::Etc::sourcelist=/dev/null",
		"-o", "Dir::Etc::sourceparts=" + filepath.Join(abs, "sources"),
		"-o", "Dir::State::lists=" + filepath.Join(abs, "lists"),
		"-o", "Dir::Cache=" + filepath.Join(abs, "cache"),
		// The folder may lie where the client's own user cannot read.
		"-o", "APT::Sandbox::User=root",
		"-o", "Acquire::Retries=3",
	}
	done := filepath.Join(apt, "updated")
	if _, err := os.Stat(done); err == nil {
		return options, nil
	}
	for _, d := range []string{"sources", "lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(apt, d), 0o755); err != nil {
			return nil, err
		}
	}
	lists, err := Sources(etc)
	if err != nil {
		return nil, err
	}
	for name, text := range lists {
		if err := os.WriteFile(filepath.Join(apt, "sources", name), text, 0o644); err != nil {
			return nil, err
		}
	}
	f.say("reading the list of source packages")
	// Places that have no sources are warnings here; whether a package can be had is seen later.
	if _, err := run(ctx, apt, "apt-get", append(options, "update", "-qq")...); err != nil {
		return nil, err
	}
	return options, os.WriteFile(done, nil, 0o644)
}

// Sources returns the package client's lists below dir, by file name, changed so that they
// list the source packages at the same places.
func Sources(dir string) (map[string][]byte, error) {
	out := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	if err != nil {
		return nil, err
	}
	for _, name := range append(files, filepath.Join(dir, "sources.list")) {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch filepath.Ext(name) {
		case ".list":
			text = oneLine(text)
		case ".sources":
			text = stanzas(text)
		default: // the client ignores it, too
			continue
		}
		if len(text) > 0 {
			out[filepath.Base(name)] = text
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s lists no place to get packages from", dir)
	}
	return out, nil
}

// oneLine changes a list in the one-line format (sources.list(5)).
func oneLine(text []byte) []byte {
	var out bytes.Buffer
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(l)
		if rest, ok := strings.CutPrefix(l, "deb "); ok {
			out.WriteString("deb-src " + rest + "\n")
		}
	}
	return out.Bytes()
}

// stanzas changes a list in the deb822 format (sources.list(5)): stanzas of fields, parted by
// empty lines.
func stanzas(text []byte) []byte {
	var out bytes.Buffer
	for s := range strings.SplitSeq(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n\n") {
		lists, on := false, true
		var lines []string
		for l := range strings.Lines(s) {
			l = strings.TrimRight(l, "\n")
			if strings.HasPrefix(l, "#") || strings.TrimSpace(l) == "" {
				continue
			}
			name, value, _ := strings.Cut(l, ":")
			switch strings.ToLower(name) {
			case "types":
				for t := range strings.FieldsSeq(value) {
					lists = lists || t == "deb"
				}
				l = "Types: deb-src"
			case "enabled":
				on = strings.TrimSpace(strings.ToLower(value)) != "no"
			}
			lines = append(lines, l)
		}
		if lists && on {
			out.WriteString(strings.Join(lines, "\n") + "\n\n")
		}
	}
	return out.Bytes()
}

// field returns the first value of a field of a control file.
func field(text []byte, name string) string {
	for l := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(l, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// run runs a command and returns its output; an error carries the end of what it said.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		said := bytes.TrimSpace(out)
		if len(said) > 1000 {
			said = said[len(said)-1000:]
		}
		return nil, fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return out, nil
}
