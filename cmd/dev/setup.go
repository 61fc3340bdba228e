package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// packages are the Debian packages that building and testing need, with a file of each by
// which a machine of another kind is recognised as having it.
var packages = []struct{ name, file, why string }{
	{"gcc", "gcc", "compiles the C library and programs"},
	{"g++", "g++", "programs in C++"},
	{"libc6-dev", "/usr/include/stdio.h", "programs for the host, to compare with"},
	{"linux-libc-dev", "/usr/include/linux/futex.h", "kernel headers for programs"},
	{"binutils", "objdump", "looks for system call instructions in what was built"},
	{"make", "make", "builds the C library"},
	{"dpkg-dev", "dpkg-source", "unpacks source packages"},
	{"tcl", "tclsh", "makes one file of SQLite's sources"},
	{"e2fsprogs", "mke2fs", "makes and checks ext4 images to compare with"},
	{"sqlite3", "sqlite3", "reads the demo's database on the host"},
}

// setUp installs what is missing, or says how to.
func (t *tree) setUp(ctx context.Context) error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return fmt.Errorf("this is %s/%s; Pinhole needs Linux on x86-64", runtime.GOOS, runtime.GOARCH)
	}
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	install := "apt-get install " + strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this machine lacks what Debian has in these packages, and has no apt-get: %s; install their like by hand", strings.Join(missing, ", "))
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("these Debian packages are missing, and only root can install them; run: sudo %s", install)
	}
	if err := t.apt(ctx, "reading the lists of packages", "update", "-qq"); err != nil {
		return err
	}
	what := "installing " + strings.Join(missing, ", ")
	if err := t.apt(ctx, what, append([]string{"install", "-qq", "--yes", "--no-install-recommends"}, missing...)...); err != nil {
		return err
	}
	if still := missingPackages(); len(still) > 0 {
		return fmt.Errorf("apt-get has installed %s, and they are still not there", strings.Join(still, ", "))
	}
	return nil
}

// missingPackages lists the packages whose files are not there.
func missingPackages() []string {
	var out []string
	for _, p := range packages {
		if !present(p.file) {
			out = append(out, p.name)
		}
	}
	return out
}

// present tells whether a file, or a program by its name, is there.
func present(file string) bool {
	if strings.HasPrefix(file, "/") {
		_, err := os.Stat(file)
		return err == nil
	}
	if _, err := exec.LookPath(file); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} { // not on every user's path
		if _, err := os.Stat(dir + file); err == nil {
			return true
		}
	}
	return false
}

// apt runs apt-get and shows how far it is.
func (t *tree) apt(ctx context.Context, what string, args ...string) error {
	t.ui.progress(what, 0, 100)
	status, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer status.Close()
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-o", "APT::Status-Fd=3", "-o", "Dpkg::Use-Pty=0"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	cmd.ExtraFiles = []*os.File{w}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	// Lines are kind:item:percent:text; kind is dlstatus, then pmstatus, each from 0 to 100.
	for s := bufio.NewScanner(status); s.Scan(); {
		part := strings.SplitN(s.Text(), ":", 4)
		if len(part) < 3 {
			continue
		}
		percent, err := strconv.ParseFloat(part[2], 64)
		if err != nil {
			continue
		}
		if percent /= 2; part[0] == "pmstatus" {
			percent += 50
		}
		t.ui.progress(what, int(percent), 100)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}
