package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"pinhole/shim/golang/host"
	"pinhole/shim/libc"
)

type buildCmd struct {
	Tools bool `help:"Build only pinhole itself, not the C library and the programs."`
}

func (c buildCmd) Run(ctx context.Context, t *tree) error {
	if err := t.setUp(ctx); err != nil {
		return err
	}
	if err := t.fence(); err != nil {
		return err
	}
	unlock, err := t.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := t.buildTools(ctx); err != nil {
		return err
	}
	if c.Tools {
		return nil
	}
	if err := t.buildSysroot(ctx); err != nil {
		return err
	}
	return t.buildApps(ctx)
}

// fence makes the folder build a module of its own, so that no pattern of the go command
// reaches the Go files that sources of other projects have.
func (t *tree) fence() error {
	if err := os.MkdirAll(t.path("build"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(t.path("build", "go.mod"), []byte("module build\n"), 0o644)
}

// lock keeps two builds from treading on each other.
func (t *tree) lock() (unlock func(), err error) {
	f, err := os.OpenFile(t.path("build", "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		t.ui.progress("waiting for another build", 0, 0)
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, fmt.Errorf("locking the folder build: %w", err)
		}
	}
	return func() { f.Close() }, nil
}

// buildTools builds build/bin/pinhole, with the kernel in it, and the kernel beside it. The
// go command knows what is up to date.
func (t *tree) buildTools(ctx context.Context) error {
	t.ui.progress("building pinhole", 0, 0)
	goroot, err := t.goCmd(ctx, "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("asking go for GOROOT: %w", err)
	}
	overlay, err := host.Generate(string(bytes.TrimSpace(goroot)), t.path("build", "work", "overlay"))
	if err != nil {
		return err
	}
	bin := t.path("build", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	kernel := filepath.Join(bin, "pinhole-kernel")
	args := append([]string{"build", "-trimpath", "-o", kernel}, host.Arguments(overlay, "-s -w")...)
	cmd := t.goCmd(ctx, append(args, "./cmd/pinhole-kernel")...)
	cmd.Env = append(os.Environ(), host.Environment...)
	if err := run(cmd); err != nil {
		return err
	}
	if err := copyIfChanged(t.path("cmd", "pinhole", "kernel", "zkernel"), kernel); err != nil {
		return err
	}
	cmd = t.goCmd(ctx, "build", "-trimpath", "-tags", "embedkernel", "-ldflags", "-s -w", "-o", filepath.Join(bin, "pinhole"), "./cmd/pinhole")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return run(cmd)
}

// buildSysroot builds the C library into build/sysroot.
func (t *tree) buildSysroot(ctx context.Context) error {
	return libc.Build(ctx, libc.Options{Work: t.path("build", "work"), Sysroot: t.path("build", "sysroot"), Progress: t.ui.progress})
}

// copyIfChanged copies a file unless the copy is the same already.
func copyIfChanged(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(to); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.WriteFile(to+".new", content, 0o644); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
