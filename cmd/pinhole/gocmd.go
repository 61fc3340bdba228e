package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"pinhole/cmd/pinhole/golang"
	"pinhole/cmd/pinhole/image"
	"pinhole/runtime/supervisor"
)

func init() {
	verbatim["toolexec"] = golang.Toolexec
	verbatim["goexec"] = goexec
}

type goCmd struct {
	Image         string   `short:"i" placeholder:"FILE" help:"Disk image on a copy of which programs and tests run (an empty one)."`
	Memory        size     `short:"m" default:"${goMemory}" placeholder:"SIZE" help:"Most memory that a program may have (${default})."`
	CPUs          int      `name:"cpus" placeholder:"N" help:"Processors that it may use at once (all)."`
	HostThreads   int      `placeholder:"N" help:"Host threads to run it on (as many as it needs to keep the processors busy)."`
	Env           []string `short:"e" sep:"none" placeholder:"NAME=VALUE" help:"Environment variable of the program besides those of Go, PATH, HOME and the like; NAME alone takes the value it has here."`
	Import        []string `short:"I" sep:"none" placeholder:"PATH" help:"File or directory of the host to be put on the program's disk, at the same path."`
	User          string   `short:"u" placeholder:"UID[:GID]" help:"User and group of the program, in numbers (those of the caller)."`
	Trace         trace    `placeholder:"FILE" help:"Write a line for each call of the program to standard error, or with --trace=FILE to FILE."`
	RequireLayers bool     `help:"Fail if the host does not offer every layer of protection around the sandbox."`
	Args          []string `arg:"" passthrough:"" name:"command" placeholder:"COMMAND" help:"Command of the go command, such as build, run, test or install, with its arguments."`
}

const defaultGoMemory = "2G"

// Help is shown below the options.
func (goCmd) Help() string {
	return `Output and exit status are the go command's: of a program that fails, go run prints the status, and ends with 1 itself. 125 says that the flags of pinhole are wrong.

  pinhole go build ./cmd/app               what go build makes, for pinhole run
  pinhole go run . --port 80               build and run
  pinhole go test ./...                    each package's tests, in a sandbox of their own
  pinhole go -m 8G --trace test -v -run TestX ./store

Flags of pinhole come before the command; all behind it are the go command's, which has to be in PATH. A test finds its module's files (of a large module, its package's) where they are on the host, and may change them there; only the profiles that go test is asked for, and what -fuzz finds, come back. Results are not cached: go caches none of what -exec runs. A program that is run finds nothing but what --image and --import put there.

Programs are linux/amd64 ones by Go 1.25 or 1.26, without cgo. Refused, since they need C or a dynamic linker: CGO_ENABLED=1, -race, -msan, -asan, -linkshared, build modes other than exe and pie. Commands that build nothing, such as vet or list, are handed to go as they are.`
}

// Run implements the command.
func (c *goCmd) Run() error {
	if err := c.check(); err != nil {
		fmt.Fprintf(os.Stderr, "pinhole: %v\n", err)
		return exitStatus(supervisor.ExitNotStarted)
	}
	err := golang.Run(c.Args, c.exec)
	var status *exec.ExitError
	if errors.As(err, &status) {
		if w, ok := status.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			return exitStatus(128 + int(w.Signal()))
		}
		return exitStatus(max(status.ExitCode(), 1))
	}
	return err
}

// check finds what is wrong with the flags before anything is built, and makes paths of them that hold in any
// directory: go test runs each package's tests in its own.
func (c *goCmd) check() error {
	run := runCmd{Memory: c.Memory, CPUs: c.CPUs, HostThreads: c.HostThreads, Env: c.Env, User: c.User, Cwd: "/", Command: []string{""}}
	if _, err := run.config(); err != nil {
		return err
	}
	var err error
	absolute := func(path *string) {
		if err == nil && *path != "" {
			*path, err = filepath.Abs(*path)
		}
	}
	if c.Image != "" {
		if err := image.CheckImage(c.Image); err != nil {
			return err
		}
		absolute(&c.Image)
	}
	for i := range c.Import {
		if _, err := os.Stat(c.Import[i]); err != nil {
			return fmt.Errorf("--import: %w", err)
		}
		absolute(&c.Import[i])
	}
	if c.Trace != "" && c.Trace != "-" {
		w, err := c.Trace.open()
		if err != nil {
			return err
		}
		w.Close()
		absolute((*string)(&c.Trace))
	}
	return err
}

// exec is golang.Exec.
func (c *goCmd) exec(command, goroot string) []string {
	return []string{"goexec", golang.EncodeWord(goOptions{
		Image: c.Image, Memory: int64(c.Memory), CPUs: c.CPUs, HostThreads: c.HostThreads, Env: c.Env, Import: c.Import,
		User: c.User, Trace: string(c.Trace), RequireLayers: c.RequireLayers, Test: command == "test", Goroot: goroot,
		Master: os.Getpid(),
	})}
}
