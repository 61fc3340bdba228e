package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
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
	for range c.Count { // round by round, so that native and sandbox meet the same weather
		cmd := t.goCmd(ctx, "test", "-run", "^$", "-bench", c.Bench, "-count", "1", "-benchtime", "1x", "-timeout", "0", "-p", "1", c.Folder)
		cmd.Stdout, cmd.Stderr = io.MultiWriter(os.Stdout, &raw), os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("benchmarks: %w", err)
		}
	}
	if err := os.WriteFile(name, raw.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Println()
	if err := table(os.Stdout, raw.Bytes()); err != nil {
		return err
	}
	rel, _ := filepath.Rel(t.root, name)
	fmt.Printf("\nmedians of %d rounds; raw results: %s (benchstat -col /runtime reads them)\n", c.Count, rel)
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
