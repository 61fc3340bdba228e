package golang

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// subcommand takes the command out of a go command line. where are its flags -C.
func subcommand(args []string) (command string, where, rest []string) {
	take := func() {
		for len(args) > 0 {
			switch a := args[0]; {
			case (a == "-C" || a == "--C") && len(args) > 1:
				where, args = append(where, args[:2]...), args[2:]
			case strings.HasPrefix(a, "-C=") || strings.HasPrefix(a, "--C="):
				where, args = append(where, a), args[1:]
			default:
				return
			}
		}
	}
	take()
	if len(args) == 0 {
		return "help", where, nil
	}
	command, args = args[0], args[1:]
	take()
	return command, where, args
}

// settings asks the go command for its own.
func settings(where []string) (map[string]string, error) {
	names := []string{"GOROOT", "GOVERSION", "GOFLAGS", "GOOS", "GOARCH", "GOMODCACHE"}
	cmd := exec.Command("go", slices.Concat(where, []string{"env", "-json"}, names)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("there is no go command in PATH")
	}
	var env map[string]string
	if err == nil {
		err = json.Unmarshal(out, &env)
	}
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(where); i++ {
		_, to, ok := strings.Cut(where[i], "=")
		if !ok {
			i++
			to = where[i]
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		dir = to
	}
	env["PINHOLE_DIR"] = dir
	return env, nil
}

// cacheDir is where what is made for a Go installation is kept, in the user's cache directory.
func cacheDir(env map[string]string) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), fmt.Sprintf("pinhole-cache-%d", os.Getuid()))
	}
	return filepath.Join(cache, "pinhole", "go", env["GOVERSION"]+"-"+shortHash(env["GOROOT"]))
}

func shortHash(s string) string { return fmt.Sprintf("%.8x", sha256.Sum256([]byte(s))) }

// outsideCache gives the Go installation another name if it is a toolchain that the go command has
// downloaded into its module cache: it admits no overlay there. own is for the environment.
func outsideCache(env map[string]string) (goroot string, own []string, err error) {
	goroot = env["GOROOT"]
	if !strings.HasPrefix(goroot, env["GOMODCACHE"]+"/") {
		return goroot, nil, nil
	}
	link := filepath.Join(cacheDir(env), "goroot")
	if to, err := os.Readlink(link); err != nil || to != goroot {
		if err := os.MkdirAll(filepath.Dir(link), 0o777); err != nil {
			return "", nil, err
		}
		os.Remove(link)
		if err := os.Symlink(goroot, link); err != nil && !errors.Is(err, os.ErrExist) {
			return "", nil, err
		}
	}
	return link, []string{"GOROOT=" + link, "GOTOOLCHAIN=" + env["GOVERSION"]}, nil
}

// goCommand runs the go command.
func goCommand(program string, args, env []string) error {
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	// A terminal sends an interrupt to the go command, too, which knows what to do.
	signal.Ignore(os.Interrupt, syscall.SIGQUIT)
	ends := make(chan os.Signal, 4)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(ends)
	err := cmd.Start()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no go command in PATH")
	}
	if err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-ends:
				cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	return cmd.Wait()
}
