// Package cc is the C compiler for Pinhole: the machine's gcc, told to use Pinhole's C library and
// to link programs that run on its kernel. It takes what cc takes, so that build systems can
// be given CC="pinhole cc".
package cc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"pinhole/shim/nosyscall"
)

const usage = `pinhole cc and pinhole c++ take gcc's options, and:

  --allow-syscall   link although the program has system call instructions of its own; the
                    kernel answers those it knows by the Linux table, slowly
  --native          link a program that can also be started on this host, without a sandbox: for
                    programs that configure scripts run, and for debugging. Programs named
                    conftest are always linked so.

Programs are static and position-independent; -no-pie puts one at a fixed address, -shared
is not supported. c++ has the language with exceptions and run-time types, but no standard
library: the machine's own is made for another C library.

PINHOLE_SYSROOT names the sysroot, in place of ../sysroot beside the executable. PINHOLE_CC and
PINHOLE_CXX name the compilers, in place of gcc and g++.
`

// Main runs the compiler: args are "cc" or "c++" and then the command line's. It returns the exit
// status. Where nothing has to be done afterwards the compiler takes this process's place, and Main does
// not return.
func Main(args []string) int {
	if len(args) == 0 || args[0] != "cc" && args[0] != "c++" {
		fmt.Fprintln(os.Stderr, `pinhole: expected "cc" or "c++"`)
		return 2
	}
	err := compile(args[0], args[1:])
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		// The compiler has said why.
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return 128 + int(s.Signal())
		}
		return exit.ExitCode()
	}
	fmt.Fprintf(os.Stderr, "pinhole %s: %v\n", args[0], err)
	return 1
}

func compile(name string, args []string) error {
	line, err := parse(args)
	if err != nil {
		return err
	}
	if line.help {
		fmt.Print(usage)
		return nil
	}
	root, err := sysroot()
	if err != nil {
		return err
	}
	host, err := compiler(name)
	if err != nil {
		return err
	}
	command := []string{host, "--sysroot=" + root, "-specs=" + filepath.Join(root, "lib", "pinhole.specs"),
		"-B" + filepath.Join(root, "lib") + "/"}
	if line.native {
		command = append(command, "-Wl,-dynamic-linker,"+filepath.Join(root, "lib", "pinhole-native"))
	}
	command = append(command, line.args...)
	if name == "c++" && line.links && line.libs {
		more, err := languageLibs(host)
		if err != nil {
			return err
		}
		command = append(command, more...)
	}
	if line.version {
		fmt.Println("pinhole", name, "for Pinhole's kernel, by way of:")
	}
	if !line.links {
		return syscall.Exec(host, command, os.Environ())
	}
	if err := run(command); err != nil {
		return err
	}
	if line.allow {
		return nil
	}
	return check(name, command, line)
}

// sysroot finds the folder with headers and libraries.
func sysroot() (string, error) {
	root := os.Getenv("PINHOLE_SYSROOT")
	if root == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		if self, err = filepath.EvalSymlinks(self); err != nil {
			return "", err
		}
		root = filepath.Join(filepath.Dir(self), "..", "sysroot")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(root, "lib", "pinhole.specs")); err != nil {
		return "", fmt.Errorf("no C library in %s: build it (go run ./cmd/dev build), or set PINHOLE_SYSROOT to where it is", root)
	}
	return root, nil
}

// compiler finds the machine's compiler.
func compiler(name string) (string, error) {
	env, cmd := "PINHOLE_CC", "gcc"
	if name == "c++" {
		env, cmd = "PINHOLE_CXX", "g++"
	}
	if v := os.Getenv(env); v != "" {
		cmd = v
	}
	path, err := exec.LookPath(cmd)
	if err != nil {
		return "", fmt.Errorf("%w: install gcc (for c++: g++), or set %s", err, env)
	}
	return path, nil
}

// languageLibs returns the options that link C++'s support library in place of the whole standard
// library, which is made for another C library.
func languageLibs(host string) ([]string, error) {
	const name = "libsupc++.a"
	out, err := exec.Command(host, "-print-file-name="+name).Output()
	path := strings.TrimSpace(string(out))
	if err != nil || !filepath.IsAbs(path) {
		return nil, fmt.Errorf("%s has no %s", host, name)
	}
	return []string{"-nodefaultlibs", "-x", "none", path, "-Wl,--start-group", "-lgcc", "-lgcc_eh", "-lc", "-Wl,--end-group"}, nil
}

func run(command []string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// check refuses a program that would enter the host kernel by itself, and takes it away.
func check(name string, command []string, line *line) error {
	if !isELF(line.output) {
		return nil // made by a linker script, or to /dev/null
	}
	sites, err := nosyscall.Program(context.Background(), line.output)
	if err != nil || len(sites) == 0 {
		return err
	}
	locate(command, sites)
	os.Remove(line.output)
	return fmt.Errorf("%s has system call instructions of its own, which do not reach Pinhole's kernel directly:\n%s\n"+
		"Make these calls through the C library, or link with --allow-syscall to have them answered by the Linux table",
		line.output, nosyscall.List(sites))
}

func isELF(name string) bool {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && string(magic[:]) == "\x7fELF"
}

// locate puts the object that each site came from in place of the program's name, by linking once
// more with a map. Without one the sites stay as they are.
func locate(command []string, sites []nosyscall.Site) {
	f, err := os.CreateTemp("", "pinhole-map")
	if err != nil {
		return
	}
	f.Close()
	defer os.Remove(f.Name())
	cmd := exec.Command(command[0], append(command[1:], "-Wl,-Map,"+f.Name())...)
	if cmd.Run() != nil {
		return
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		return
	}
	for i := range sites {
		if object := objectAt(string(text), sites[i].Address); object != "" {
			sites[i].Object = object
		}
	}
}

// objectAt looks in a linker's map for the object whose part of a section holds an address. Its lines are
// section, address, size, object; a long section's name has a line of its own.
func objectAt(text string, address uint64) string {
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		for len(f) > 0 && !strings.HasPrefix(f[0], "0x") {
			f = f[1:]
		}
		if len(f) < 3 || !strings.HasPrefix(f[1], "0x") {
			continue
		}
		var at, size uint64
		if _, err := fmt.Sscanf(f[0]+" "+f[1], "0x%x 0x%x", &at, &size); err == nil && address-at < size {
			return strings.Join(f[2:], " ")
		}
	}
	return ""
}
