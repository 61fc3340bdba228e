package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"pinhole/cmd/pinhole/golang"
	"pinhole/cmd/pinhole/kernel"
	"pinhole/runtime/supervisor"
)

func init() {
	verbatim["toolexec"] = golang.Toolexec
	verbatim["goexec"] = goexec
}

type goCmd struct {
	Image         string   `short:"i" placeholder:"FILE" help:"Disk image on a copy of which programs and tests run. (an empty one)"`
	Memory        size     `short:"m" default:"${goMemory}" placeholder:"SIZE" help:"Most memory that a program may have (${default})."`
	CPUs          int      `name:"cpus" placeholder:"N" help:"Processors that it may use at once (all)."`
	HostThreads   int      `placeholder:"N" help:"Host threads to run it on (as many as it needs to keep the processors busy)."`
	Env           []string `short:"e" sep:"none" placeholder:"NAME=VALUE" help:"Environment variable of the program besides those of Go, PATH, HOME and the like; NAME alone takes the value it has here."`
	Import        []string `short:"I" sep:"none" placeholder:"PATH" help:"File or directory of the host to be put on the program's disk, at the same path."`
	User          string   `short:"u" placeholder:"UID[:GID]" help:"User and group of the program, in numbers. (those of the caller)"`
	Trace         trace    `placeholder:"FILE" help:"Write a line for each call of the program to standard error, or with --trace=FILE to FILE."`
	RequireLayers bool     `help:"Fail if the host does not offer every layer of protection around the sandbox."`
	Args          []string `arg:"" passthrough:"" name:"command" placeholder:"COMMAND" help:"Command of the go command, such as build, run, test or install, with its arguments."`
}

const defaultGoMemory = "2G"

// scratchRoom is how much, in bytes, programs can write to the disk made for them: it is in memory, but
// only what is written takes any.
const scratchRoom = 4 << 30

// Help is shown below the options.
func (goCmd) Help() string {
	return `Usage: pinhole go [FLAG]... COMMAND [ARGUMENT]...

  pinhole go build ./cmd/app               what go build makes, for pinhole run
  pinhole go run . --port 80               build and run
  pinhole go test ./...                    each package's tests, in a sandbox of their own
  pinhole go -m 8G --trace test -v -run TestX ./store

Flags of pinhole come before the command; all behind it are the go command's, which has to be in PATH. A test finds its module's files (of a large module, its package's) where they are on the host, and may change them there; only the profiles that go test is asked for, and what -fuzz finds, come back. Results are not cached: go caches none of what -exec runs. A program that is run finds nothing but what --image and --import put there.

Programs are linux/amd64 ones by Go 1.25 or 1.26, without cgo. Refused, since they need C or a dynamic linker: CGO_ENABLED=1, -race, -msan, -asan, -linkshared, build modes other than exe and pie. Commands that build nothing, such as vet or list, are handed to go as they are.`
}

// Run implements the command.
func (c *goCmd) Run() error {
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

// exec is golang.Exec.
func (c *goCmd) exec(command, goroot string) []string {
	o := goOptions{
		Image: c.Image, Memory: int64(c.Memory), CPUs: c.CPUs, HostThreads: c.HostThreads, Env: c.Env, Import: c.Import,
		User: c.User, Trace: string(c.Trace), RequireLayers: c.RequireLayers, Test: command == "test", Goroot: goroot,
		Master: os.Getpid(),
	}
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // there is nothing in it that JSON has not
	}
	return []string{"goexec", base64.RawURLEncoding.EncodeToString(text)}
}

// goOptions is what goexec is told.
type goOptions struct {
	Image             string
	Memory            int64
	CPUs, HostThreads int
	Env, Import       []string
	User, Trace       string
	RequireLayers     bool
	Test              bool   // it is go test's
	Master            int    // process that the program ends with: pinhole go
	Goroot            string // whose zone information the program may need
}

// goexec runs a program that pinhole go has built: for the go command's -exec. Its arguments are
// "goexec", its options, the program, and the program's own.
func goexec(args []string) int {
	fail := func(err error) int {
		fmt.Fprintf(os.Stderr, "pinhole: %v\n", err)
		return supervisor.ExitNotStarted
	}
	var o goOptions
	ok := len(args) >= 3
	if ok {
		text, err := base64.RawURLEncoding.DecodeString(args[1])
		ok = err == nil && json.Unmarshal(text, &o) == nil
	}
	if !ok {
		return fail(errors.New("goexec is for the go command, which pinhole go calls"))
	}
	cwd, err := os.Getwd()
	if err != nil {
		return fail(err)
	}
	program := args[2]
	place, err := golang.NewPlace(program, cwd, o.Goroot)
	if err == nil && o.Test {
		place.Outputs(cwd, args[3:])
		err = place.Package(cwd)
	}
	for _, path := range o.Import {
		if err == nil {
			err = place.Import(path)
		}
	}
	if err != nil {
		return fail(err)
	}
	disk, err := place.Scratch(o.Image, scratchRoom)
	if err != nil {
		return fail(err)
	}
	if o.User == "" {
		o.User = golang.Owner()
	}
	run := runCmd{Memory: size(o.Memory), CPUs: o.CPUs, HostThreads: o.HostThreads, Cwd: cwd, User: o.User, Command: args[2:]}
	run.Env = append(golang.Environment(), o.Env...)
	conf, err := run.config()
	if err != nil {
		return fail(err)
	}
	// What the host lacks is not to be said in the midst of what a test says.
	var messages bytes.Buffer
	spec := supervisor.Spec{Config: conf, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Messages: &messages, RequireLayers: o.RequireLayers}
	if spec.Image, err = supervisor.MemoryImage(disk, "of "+program); err != nil {
		return fail(err)
	}
	if o.Trace != "" {
		if spec.Trace, err = trace(o.Trace).open(); err != nil {
			return fail(err)
		}
	}
	if spec.Kernel, err = kernel.Open(); err != nil {
		return fail(err)
	}
	// A go command that is terminated leaves what it runs behind.
	switch fd, err := unix.PidfdOpen(o.Master, 0); {
	case err == unix.ESRCH:
		return 128 + int(unix.SIGKILL)
	case err == nil:
		spec.Master = os.NewFile(uintptr(fd), "master")
	}
	status := supervisor.Run(spec)
	if status >= supervisor.ExitNotStarted || status == supervisor.ExitBug {
		os.Stderr.Write(messages.Bytes())
	}
	if err := place.Fetch(disk); err != nil {
		return fail(err)
	}
	return status
}
