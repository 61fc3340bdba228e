package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"pinhole/cmd/pinhole/golang"
	"pinhole/cmd/pinhole/kernel"
	"pinhole/runtime/supervisor"
)

// scratchRoom is how much, in bytes, programs can write to the disk made for them: it is in memory, but
// only what is written takes any.
const scratchRoom = 4 << 30

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
	if len(args) < 3 || golang.DecodeWord(args[1], &o) != nil {
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
		w, err := trace(o.Trace).append()
		if err != nil {
			return fail(err)
		}
		spec.Trace = w
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
