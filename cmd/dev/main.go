// Dev does the project's own work: setting a machine up, building, testing, measuring.
//
//	go run ./cmd/dev TARGET
//
// Everything that it makes lies in the folder build. What is up to date is left alone, so
// that a second run is quick.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

type cli struct {
	Demo     demoCmd     `cmd:"" help:"Set the machine up, build everything, and run the main job: SQLite in a sandbox on a disk image."`
	Build    buildCmd    `cmd:"" help:"Set the machine up and build everything into build/bin, build/sysroot and build/apps."`
	Test     testCmd     `cmd:"" help:"Build, then run every test and count what passed, failed and was skipped."`
	Check    checkCmd    `cmd:"" help:"Check the source without running it: vet, formatting, generated files."`
	Bench    benchCmd    `cmd:"" help:"Build, then run the benchmarks; results go to bench/results."`
	Fuzz     fuzzCmd     `cmd:"" help:"Run every fuzzer for a while."`
	Generate generateCmd `cmd:"" help:"Make the generated files anew."`
	Help     helpCmd     `cmd:"" help:"Show this help."`
}

const description = `The project's own work. On a fresh Debian 12 with Go and git, "demo" and "test" set up
whatever else they need.`

// tree is the checkout and where things go in it.
type tree struct {
	root string
	ui   *ui
}

func (t *tree) path(elem ...string) string {
	return filepath.Join(append([]string{t.root}, elem...)...)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	parser := kong.Must(&c, kong.Name("go run ./cmd/dev"), kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}))
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "dev: %v (see \"go run ./cmd/dev help\")\n", err)
		os.Exit(2)
	}
	root, err := findRoot()
	if err != nil {
		fmt.Fprintf(os.Stderr, "dev: %v\n", err)
		os.Exit(2)
	}
	t := &tree{root: root, ui: newUI(os.Stderr)}
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.Bind(t)
	err = parsed.Run()
	t.ui.end()
	var status exitStatus
	switch {
	case err == nil:
	case errors.As(err, &status):
		os.Exit(int(status))
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "dev: interrupted")
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "dev: %v\n", err)
		os.Exit(1)
	}
}

// exitStatus ends dev with this status. What there is to say has been said.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

type helpCmd struct{}

func (helpCmd) Run(k *kong.Kong) error {
	_, err := k.Parse([]string{"--help"})
	return err
}

// findRoot returns the top of the checkout, where go.mod is.
func findRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the module: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("not in the checkout: change to its folder")
	}
	return filepath.Dir(mod), nil
}

// goCmd is a go command in the tree.
func (t *tree) goCmd(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = t.root
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd
}

// run runs a command whose output matters only when it fails.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
