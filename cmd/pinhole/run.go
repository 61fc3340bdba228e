package main

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"pinhole/cmd/pinhole/kernel"
	"pinhole/runtime/control"
	"pinhole/runtime/supervisor"
)

const defaultMemory = "1G"

type runCmd struct {
	Image         string   `short:"i" placeholder:"FILE" help:"Disk image that holds the program. Without it, COMMAND is a program on the host, run with a throw-away disk that holds nothing else."`
	Memory        size     `short:"m" default:"${memory}" placeholder:"SIZE" help:"Most memory that the program may have (${default})."`
	CPUs          int      `name:"cpus" placeholder:"N" help:"Processors that it may use at once (all)."`
	HostThreads   int      `placeholder:"N" help:"Host threads to run it on (as many as it needs to keep the processors busy)."`
	Env           []string `short:"e" sep:"none" placeholder:"NAME=VALUE" help:"Environment variable of the program; NAME alone takes the value it has here. Nothing else of the environment gets in."`
	Cwd           string   `short:"C" default:"/" placeholder:"DIR" help:"Directory in the image to start in (${default})."`
	User          string   `short:"u" placeholder:"UID[:GID]" help:"User and group of the program, in numbers (0:0)."`
	ReadOnly      bool     `xor:"changes" help:"Mount the image read-only. Several sandboxes may read one image."`
	Ephemeral     bool     `xor:"changes" help:"Keep changes of the image in memory and forget them at the end. Several sandboxes may have one image so."`
	Trace         trace    `placeholder:"FILE" help:"Write a line for each call of the program to standard error, or with --trace=FILE to FILE."`
	RequireLayers bool     `help:"Fail if the host does not offer every layer of protection around the sandbox."`
	Command       []string `arg:"" passthrough:"" name:"command" placeholder:"COMMAND" help:"Program and its arguments. Everything behind the program is its own."`
}

// Help is shown below the options.
func (runCmd) Help() string {
	return `Exit status: the program's own, or 128+N if signal N ended it; 125 if the sandbox could not be started or what it wrote could not be kept, 126 if COMMAND cannot be executed, 127 if it is not there, 70 for a bug of Pinhole.`
}

// AfterApply implements kong's hook: what is taken for the command may be a misspelt flag.
func (c *runCmd) AfterApply() error {
	switch first := c.Command[0]; {
	case first == "--" && len(c.Command) > 1:
		c.Command = c.Command[1:]
	case strings.HasPrefix(first, "-"):
		return fmt.Errorf("unknown flag %s", first)
	}
	return nil
}

// Run implements the command.
func (c *runCmd) Run() error {
	return exitStatus(c.run())
}

func (c *runCmd) run() int {
	fail := func(err error) int {
		fmt.Fprintf(os.Stderr, "pinhole: %v\n", err)
		return supervisor.ExitNotStarted
	}
	conf, err := c.config()
	if err != nil {
		return fail(err)
	}
	spec := supervisor.Spec{
		Config:        conf,
		Stdin:         os.Stdin,
		Stdout:        os.Stdout,
		Stderr:        os.Stderr,
		Messages:      os.Stderr,
		RequireLayers: c.RequireLayers,
	}
	if c.Trace != "" {
		w, err := c.Trace.open()
		if err != nil {
			return fail(err)
		}
		spec.Trace = w
	}
	if c.Image == "" {
		var status int
		if spec.Image, spec.Config.Program, status, err = throwaway(c.Command[0]); err != nil {
			fmt.Fprintf(os.Stderr, "pinhole: %v\n", err)
			return status
		}
	} else if spec.Image, err = supervisor.OpenImage(c.Image, c.ReadOnly || c.Ephemeral); err != nil {
		return fail(err)
	}
	if spec.Kernel, err = kernel.Open(); err != nil {
		return fail(err)
	}
	return supervisor.Run(spec)
}

// leastMemory is what a sandbox needs to load a small program and keep its disk going.
const leastMemory = 16 << 20

// config makes of the options what the sandbox is told.
func (c *runCmd) config() (control.Config, error) {
	conf := control.Config{
		Program:     c.Command[0],
		Args:        c.Command,
		Cwd:         c.Cwd,
		Memory:      int64(c.Memory),
		CPUs:        int64(c.CPUs),
		HostThreads: int64(c.HostThreads),
		Ephemeral:   c.Ephemeral && c.Image != "", // a throw-away image is one anyway
	}
	if c.Memory < leastMemory {
		return conf, fmt.Errorf("--memory %d is too little; a sandbox needs at least %dM", c.Memory, leastMemory>>20)
	}
	if !path.IsAbs(c.Cwd) {
		return conf, fmt.Errorf("--cwd %s is not an absolute path (it is a directory in the image)", c.Cwd)
	}
	if c.CPUs < 0 || c.HostThreads < 0 {
		return conf, fmt.Errorf("--cpus and --host-threads cannot be negative")
	}
	if conf.CPUs == 0 || conf.CPUs > int64(runtime.NumCPU()) {
		conf.CPUs = int64(runtime.NumCPU())
	}
	// What the cache holds is also memory of the sandbox; programs get the larger part.
	conf.CacheBytes = min(max(conf.Memory/4, 4<<20), 512<<20) &^ 4095
	var err error
	if conf.Env, err = environment(c.Env); err != nil {
		return conf, err
	}
	conf.UID, conf.GID, err = user(c.User)
	return conf, err
}

// environment makes the program's environment: defaults, overridden by what is given.
func environment(given []string) ([]string, error) {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/",
		"TERM=" + terminalType(),
	}
	for _, e := range given {
		name, _, ok := strings.Cut(e, "=")
		if name == "" {
			return nil, fmt.Errorf("--env %q names no variable; write NAME=VALUE", e)
		}
		if !ok {
			value, ok := os.LookupEnv(name)
			if !ok {
				continue // as with env(1) -u: what is not set here is not set there
			}
			e = name + "=" + value
		}
		replaced := false
		for i := range env {
			if strings.HasPrefix(env[i], name+"=") {
				env[i], replaced = e, true
			}
		}
		if !replaced {
			env = append(env, e)
		}
	}
	return env, nil
}

// terminalType is the one thing of the host's environment that a program needs to talk to the
// terminal it is relayed to.
func terminalType() string {
	if t := os.Getenv("TERM"); t != "" {
		return t
	}
	return "dumb"
}

// user takes "UID" or "UID:GID".
func user(s string) (uid, gid uint32, err error) {
	if s == "" {
		return 0, 0, nil
	}
	u, g, both := strings.Cut(s, ":")
	if !both {
		g = u
	}
	id := func(part string) uint32 {
		n, e := strconv.ParseUint(part, 10, 32)
		if e != nil || n == 1<<32-1 {
			err = fmt.Errorf("--user %s is not UID or UID:GID in numbers", s)
		}
		return uint32(n)
	}
	return id(u), id(g), err
}

// trace is where the call trace goes: nowhere, "-" for standard error, or a file. The value is optional.
type trace string

// Decode implements kong.MapperValue.
func (t *trace) Decode(ctx *kong.DecodeContext) error {
	*t = "-"
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		return ctx.Scan.PopValueInto("FILE", (*string)(t))
	}
	return nil
}

// IsBool implements kong.BoolMapperValue: the flag does not take the argument behind it.
func (trace) IsBool() bool { return true }

// open begins the trace.
func (t trace) open() (*os.File, error) { return t.openFile(os.O_TRUNC) }

// append goes on with one that open has begun.
func (t trace) append() (*os.File, error) { return t.openFile(os.O_APPEND) }

func (t trace) openFile(flag int) (*os.File, error) {
	if t == "-" {
		return os.Stderr, nil
	}
	f, err := os.OpenFile(string(t), os.O_WRONLY|os.O_CREATE|flag, 0o666)
	if err != nil {
		return nil, fmt.Errorf("--trace: %w", err)
	}
	return f, nil
}
