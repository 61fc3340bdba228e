// Pinhole runs programs in a sandbox that has five system calls.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"pinhole/cmd/pinhole/image"
	"pinhole/runtime/supervisor"
)

func init() {
	// The sandbox dies with the thread that started it: that is to be the main thread, which lives as long as
	// the process.
	runtime.LockOSThread()
}

// cli is the command line.
type cli struct {
	Run     runCmd      `cmd:"" usage:"[FLAG]... COMMAND [ARGUMENT]..." help:"Run a program in a sandbox."`
	Image   image.Cmd   `cmd:"" help:"Make disk images, look into them, and change them."`
	Cc      verbatimCmd `cmd:"" name:"cc" help:"Compile and link C for the sandbox; takes what cc takes." passthrough:""`
	Cxx     verbatimCmd `cmd:"" name:"c++" help:"Compile and link C++ for the sandbox; takes what c++ takes." passthrough:""`
	Go      goCmd       `cmd:"" usage:"[FLAG]... COMMAND [ARGUMENT]..." help:"Build Go programs for the sandbox, run and test them there; takes what go takes."`
	Version versionCmd  `cmd:"" help:"Print the version."`
}

const description = `Run programs in a sandbox that has five system calls.

The program sees a disk image as its whole disk. A kernel in the sandbox itself answers its
calls; the host answers read, write, mmap, futex and exit.

  pinhole cc -o hello hello.c                build a program for the sandbox
  pinhole run ./hello                        run it, with a throw-away disk
  pinhole image create --size 1G disk.img    make a disk image
  pinhole image put disk.img hello /bin/     put it there
  pinhole run --image disk.img /bin/hello    run it from there`

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit status.
func run(args []string) int {
	if len(args) > 0 {
		if own, ok := verbatim[args[0]]; ok {
			return own(args)
		}
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if args[0] == "run" {
		if c, ok := quick(args[1:]); ok {
			return c.run()
		}
	}
	if args[0] == "help" {
		args = append(args[1:len(args):len(args)], "--help")
	}
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		panic(err) // the struct tags are wrong
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return usage(err)
	}
	err = ctx.Run()
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	fmt.Fprintf(os.Stderr, "pinhole: %v\n", err)
	var own interface{ ExitCode() int }
	if errors.As(err, &own) {
		return own.ExitCode()
	}
	return 1
}

func newParser(c *cli) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("pinhole"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.Help(printHelp),
		kong.Vars{"memory": defaultMemory, "goMemory": defaultGoMemory},
	)
}

// printHelp is kong's printer, but that the first line shows the arguments as the tag usage of a command has
// them. Kong's own would show flags behind the arguments, where they are another program's.
func printHelp(o kong.HelpOptions, ctx *kong.Context) error {
	var text bytes.Buffer
	out := ctx.Stdout
	ctx.Stdout = &text
	err := kong.DefaultHelpPrinter(o, ctx)
	ctx.Stdout = out
	if err != nil {
		return err
	}
	if n := ctx.Selected(); n != nil && n.Tag.Get("usage") != "" {
		text.ReadString('\n')
		fmt.Fprintf(out, "Usage: %s %s\n", n.FullPath(), n.Tag.Get("usage"))
	}
	_, err = text.WriteTo(out)
	return err
}

// verbatim are the commands that parse their own arguments.
var verbatim = map[string]func(args []string) int{}

// verbatimCmd stands for such a command in the help.
type verbatimCmd struct {
	Args []string `arg:"" optional:""`
}

// exitStatus ends pinhole with this status. What there is to say has been said.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usage says what is wrong with the command line, and where to read how it is right.
func usage(err error) int {
	where := "pinhole --help"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context.Selected() != nil {
		where = parse.Context.Selected().FullPath() + " --help"
	}
	fmt.Fprintf(os.Stderr, "pinhole: %v (see \"%s\")\n", err, where)
	return supervisor.ExitNotStarted
}

type versionCmd struct{}

func (versionCmd) Run() error {
	version := "(devel)"
	info, ok := debug.ReadBuildInfo()
	if ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	fmt.Printf("pinhole %s, %s\n", version, runtime.Version())
	return nil
}
