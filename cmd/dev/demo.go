package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

type demoCmd struct{}

//go:embed demo.sql
var demoSQL string

// Run builds everything and shows the main job: SQLite's shell, unchanged C built with
// pinhole cc, works on a database in a disk image while the host allows its process five
// calls; afterwards the host's own tools look at what it has left in the image.
func (demoCmd) Run(ctx context.Context, t *tree) error {
	if err := (buildCmd{}).Run(ctx, t); err != nil {
		return err
	}
	t.ui.end()
	d := demo{ctx: ctx, t: t, dir: t.path("build", "demo")}
	if err := os.RemoveAll(d.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	sqlite, err := filepath.Rel(d.dir, t.path("build", "apps", "sqlite3"))
	if err != nil {
		return err
	}

	d.title("Make a disk image and put SQLite's shell on it.")
	d.pinhole("image", "create", "--size", "128M", "disk.img")
	d.pinhole("image", "put", "disk.img", sqlite, "/bin/sqlite3")

	d.title("Run it in a sandbox: 100,000 rows inserted, queried, deleted, vacuumed.")
	d.input(demoSQL)
	began := time.Now()
	d.pinhole("run", "--image", "disk.img", "/bin/sqlite3", "/measurements.db")
	took := time.Since(began)

	d.title("Look at the image from the host: the file system, and the database in it.")
	d.command("/sbin/e2fsck", "-fn", "disk.img")
	d.pinhole("image", "get", "disk.img", "/measurements.db", "measurements.db")
	out := d.command("sqlite3", "measurements.db", "PRAGMA integrity_check; SELECT count(*) FROM measurement;")
	if d.err != nil {
		return d.err
	}
	if out != "ok\n92006\n" {
		return fmt.Errorf("the host's sqlite3 finds something else than the sandbox's has written: %q", out)
	}
	fmt.Printf("\nSQLite ran for %.2f s in a process to which the host grants read, write, mmap, futex and exit.\n", took.Seconds())
	fmt.Println("Its database is in the image build/demo/disk.img, sound and with all rows.")
	fmt.Println("\nNext: build/bin/pinhole cc -o hello hello.c && build/bin/pinhole run ./hello")
	return nil
}

// demo runs commands as a user would, shows them, and stops at the first that fails.
type demo struct {
	ctx   context.Context
	t     *tree
	dir   string
	stdin string
	err   error
}

func (d *demo) title(s string) {
	if d.err == nil {
		fmt.Printf("\n%s\n", s)
	}
}

// input is what the next command gets on its standard input.
func (d *demo) input(s string) { d.stdin = s }

func (d *demo) pinhole(args ...string) string {
	return d.show("pinhole", d.t.path("build", "bin", "pinhole"), args...)
}

func (d *demo) command(name string, args ...string) string {
	return d.show(filepath.Base(name), name, args...)
}

// show runs a command, with its output shown and returned.
func (d *demo) show(as, name string, args ...string) string {
	if d.err != nil {
		return ""
	}
	line := as
	for _, a := range args {
		if strings.ContainsAny(a, " ;") {
			a = "'" + a + "'"
		}
		line += " " + a
	}
	if d.stdin != "" {
		line += " < demo.sql"
	}
	fmt.Printf("$ %s\n", line)
	cmd := exec.CommandContext(d.ctx, name, args...)
	cmd.Dir = d.dir
	cmd.Stdin = strings.NewReader(d.stdin)
	d.stdin = ""
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(os.Stdout, &out)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		d.err = fmt.Errorf("%s: %w", line, err)
	}
	return out.String()
}
