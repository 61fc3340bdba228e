// Package golang is "pinhole go": it has the go command build programs for the sandbox, and run
// them and their tests there.
//
// What it adds to a command line is the overlay that package guest makes, which puts Pinhole's gate
// under the standard library; -buildmode=pie; this program as -toolexec, which does the same to
// assembly of others and finishes what the linker makes; and as -exec, which runs programs in a
// sandbox. The build cache keeps the result apart from plain builds by itself.
package golang

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pinhole/shim/golang/guest"
	"pinhole/shim/golang/overlay"
)

// Exec makes the command that runs a program in a sandbox, for the go command's -exec: command is the
// go command's, as in "run" or "test", and goroot its Go installation.
type Exec func(command, goroot string) []string

// Run runs the go command with args, "build" first for instance, so that what it builds is for the
// sandbox. The error may be an *exec.ExitError, about which all has been said.
func Run(args []string, execute Exec) error {
	command, where, args := subcommand(args)
	switch command {
	case "build", "run", "test", "install":
	default:
		// It builds nothing that a sandbox runs.
		return goCommand("go", append(append(where, command), args...), nil)
	}
	env, err := settings(where)
	if err != nil {
		return err
	}
	goroot, own, err := outsideCache(env)
	if err != nil {
		return err
	}
	w := wrapper{command: command, dir: env["PINHOLE_DIR"]}
	if err := w.take(env["GOFLAGS"], args); err != nil {
		return err
	}
	if err := w.check(env); err != nil {
		return err
	}
	added, err := w.add(env, goroot, execute)
	if err != nil {
		return err
	}
	line := append(append(append(where, command), added...), w.args...)
	program := "go"
	if own != nil {
		program = filepath.Join(goroot, "bin", "go") // PATH's would take the toolchain by its first name
	}
	own = append(own, "CGO_ENABLED=0")
	if hidden(cmp.Or(os.Getenv("GOTMPDIR"), os.TempDir())) {
		// What is built there to be run, and what that writes, would not be found in a sandbox.
		own = append(own, "GOTMPDIR="+otherTemp)
	}
	return goCommand(program, line, own)
}

// wrapper is a command line of the go command's that is being changed.
type wrapper struct {
	command string
	dir     string     // where the go command works
	flags   []argument // all of them, those of GOFLAGS first
	args    []string   // what is left of the command line

	overlay, toolexec, exec string // the user's own
}

// take takes the user's arguments apart, and out of them what is merged with what is added here.
func (w *wrapper) take(goflags string, args []string) error {
	list, ok := fields(goflags)
	if !ok {
		return fmt.Errorf("GOFLAGS has an unended quote: %s", goflags)
	}
	given, _ := split(w.command, list)
	flags, rest := split(w.command, args)
	w.flags = append(given, flags...)
	for _, f := range w.flags {
		switch f.name {
		case "overlay":
			w.overlay = f.value
		case "toolexec":
			w.toolexec = f.value
		case "exec":
			w.exec = f.value
		}
	}
	if w.command == "test" && len(flags) > 0 {
		// Flags and packages may alternate, and go test tells its own flags from those of the
		// test: the arguments stay in their order.
		w.args = without(args, flags)
		return nil
	}
	for _, f := range flags {
		if !f.replaced() {
			w.args = append(w.args, f.words...)
		}
	}
	w.args = append(w.args, rest...)
	return nil
}

// replaced tells whether a flag is replaced by what is added here. Of one that lacks its value the go command
// says so.
func (f argument) replaced() bool {
	return f.given && slices.Contains([]string{"overlay", "toolexec", "buildmode"}, f.name)
}

// without returns args without the flags that are replaced.
func without(args []string, flags []argument) []string {
	var left []string
	for len(args) > 0 {
		n := 1
		drop := false
		if len(flags) > 0 && &flags[0].words[0] == &args[0] {
			n, drop = len(flags[0].words), flags[0].replaced()
			flags = flags[1:]
		}
		if !drop {
			left = append(left, args[:n]...)
		}
		args = args[n:]
	}
	return left
}

// check refuses what cannot work.
func (w *wrapper) check(env map[string]string) error {
	if err := guest.CheckVersion(env["GOVERSION"]); err != nil {
		return err
	}
	if env["GOOS"] != "linux" || env["GOARCH"] != "amd64" {
		return fmt.Errorf("GOOS=%s GOARCH=%s: programs for Pinhole are linux/amd64 ones", env["GOOS"], env["GOARCH"])
	}
	if os.Getenv("CGO_ENABLED") == "1" {
		return errors.New("CGO_ENABLED=1: Go programs for Pinhole are built without cgo; set it to 0 or unset it")
	}
	for _, f := range w.flags {
		switch f.name {
		case "race", "msan", "asan":
			if f.on() {
				return fmt.Errorf("-%s needs cgo and a run-time of its own, which do not work in a sandbox", f.name)
			}
		case "linkshared":
			if f.on() {
				return errors.New("-linkshared: there are no shared libraries in a sandbox")
			}
		case "buildmode":
			if f.given && f.value != "exe" && f.value != "pie" && f.value != "default" {
				return fmt.Errorf("-buildmode=%s: only programs can be built for Pinhole (exe, pie)", f.value)
			}
		case "compiler":
			if f.given && f.value != "gc" {
				return fmt.Errorf("-compiler=%s: programs for Pinhole are built by gc", f.value)
			}
		case "ldflags":
			if strings.Contains(f.value, "linkmode=external") || strings.Contains(f.value, "linkmode external") {
				return errors.New("-linkmode=external: programs for Pinhole are linked by Go's own linker")
			}
		}
	}
	return nil
}

// add makes what is added to the command line.
func (w *wrapper) add(env map[string]string, goroot string, execute Exec) ([]string, error) {
	list, err := w.makeOverlay(goroot, cacheDir(env))
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding pinhole itself: %w", err)
	}
	line := []string{self, "toolexec"}
	if w.toolexec != "" {
		user, ok := fields(w.toolexec)
		if !ok {
			return nil, fmt.Errorf("-toolexec has an unended quote: %s", w.toolexec)
		}
		line = append(line, userToolexec+EncodeWord(user))
	}
	toolexec, err := join(line)
	if err != nil {
		return nil, err
	}
	added := []string{"-overlay=" + list, "-buildmode=pie", "-toolexec=" + toolexec}
	if (w.command == "run" || w.command == "test") && w.exec == "" {
		run, err := join(append([]string{self}, execute(w.command, goroot)...))
		if err != nil {
			return nil, err
		}
		added = append(added, "-exec="+run)
	}
	return added, nil
}

// join makes one value for a flag out of a command line.
func join(line []string) (string, error) {
	var quoted []string
	for _, s := range line {
		q, ok := quote(s)
		if !ok {
			return "", fmt.Errorf("%s: a name with both kinds of quotes cannot be given to the go command", s)
		}
		quoted = append(quoted, q)
	}
	return strings.Join(quoted, " "), nil
}

// makeOverlay makes the overlay for the Go installation in use, with the user's own in it, in dir, and
// returns the path of its list.
func (w *wrapper) makeOverlay(goroot, dir string) (string, error) {
	list, err := guest.Generate(goroot, dir)
	if err != nil || w.overlay == "" {
		return list, err
	}
	path := w.overlay
	if !filepath.IsAbs(path) {
		path = filepath.Join(w.dir, path)
	}
	users, err := overlay.ReadJSON(path, w.dir)
	if err != nil {
		return "", fmt.Errorf("-overlay: %w", err)
	}
	all, err := overlay.ReadJSON(list, dir)
	if err != nil {
		return "", err
	}
	for from, to := range users {
		if _, ok := all[from]; ok {
			return "", fmt.Errorf("-overlay=%s replaces %s, which Pinhole has to replace itself", w.overlay, from)
		}
		all[from] = to
	}
	list = filepath.Join(dir, "merged-"+shortHash(path)+".json")
	return list, overlay.WriteJSON(list, all)
}
