package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type benchCmd struct {
	Count   int    `default:"5" help:"How often to run each."`
	Bench   string `default:"." help:"Which ones: a pattern of their names."`
	Folder  string `arg:"" optional:"" default:"./bench/..." help:"Packages to run."`
	NoBuild bool   `help:"Measure what is built already."`
}

// Run runs the benchmarks, each native and in a sandbox in turn, and keeps the raw results
// with machine and date, in the form that benchstat reads.
func (c benchCmd) Run(ctx context.Context, t *tree) error {
	if !c.NoBuild {
		if err := (buildCmd{}).Run(ctx, t); err != nil {
			return err
		}
	}
	t.ui.end()
	dir := t.path("bench", "results")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, time.Now().UTC().Format("2006-01-02-150405")+".txt")
	var raw bytes.Buffer
	raw.WriteString(machine())
	cmd := t.goCmd(ctx, "test", "-run", "^$", "-bench", c.Bench, "-count", fmt.Sprint(c.Count), "-timeout", "0", "-p", "1", c.Folder)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(os.Stdout, &raw), os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("benchmarks: %w", err)
	}
	if err := os.WriteFile(name, raw.Bytes(), 0o644); err != nil {
		return err
	}
	rel, _ := filepath.Rel(t.root, name)
	fmt.Printf("\nraw results: %s\n", rel)
	if stat, err := exec.LookPath("benchstat"); err == nil {
		cmd := exec.CommandContext(ctx, stat, "-col", "/runtime", name)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd.Run()
	}
	fmt.Printf("side by side: benchstat -col /runtime %s (go install golang.org/x/perf/cmd/benchstat@latest)\n", rel)
	return nil
}

// machine describes the machine in benchstat's configuration lines.
func machine() string {
	var u syscall.Utsname
	syscall.Uname(&u)
	release := make([]byte, 0, len(u.Release))
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	memory := ""
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if total, ok := strings.CutPrefix(line, "MemTotal:"); ok {
				memory = strings.TrimSpace(total)
			}
		}
	}
	return fmt.Sprintf("date: %s\nkernel: %s\nmemory: %s\n", time.Now().UTC().Format(time.RFC3339), release, memory)
}
