package golang

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"pinhole/shim/golang/guest"
	"pinhole/shim/nosyscall"
)

// toolRevision is part of what the go command knows of a tool's version: what other revisions of
// this program have assembled and linked is not used.
const toolRevision = "pinhole-1"

// Toolexec runs a tool of the go command's, as its flag -toolexec has it: the assembler is given
// sources that enter the kernel by the gate, and programs that the linker makes are finished
// and looked through. The arguments are "toolexec", perhaps --user=..., the tool, and the tool's own.
func Toolexec(args []string) int {
	args = args[1:]
	var user []string // the user's own -toolexec
	if len(args) > 0 {
		if s, ok := strings.CutPrefix(args[0], userToolexec); ok {
			if DecodeWord(s, &user) != nil {
				args = nil
			} else {
				args = args[1:]
			}
		}
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "pinhole: toolexec is for the go command, which pinhole go calls")
		return 2
	}
	if err := tool(user, args[0], args[1:]); err != nil {
		var status *exec.ExitError
		if errors.As(err, &status) {
			return max(status.ExitCode(), 1)
		}
		fmt.Fprintf(os.Stderr, "pinhole: %v\n", err)
		return 1
	}
	return 0
}

const userToolexec = "--user="

func tool(user []string, path string, args []string) error {
	name := filepath.Base(path)
	run := func() error {
		line := append(append(user[:len(user):len(user)], path), args...)
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		return cmd.Run()
	}
	if name != "asm" && name != "link" {
		return run()
	}
	if len(args) == 1 && args[0] == "-V=full" {
		line := append(append(user[:len(user):len(user)], path), args...)
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err == nil {
			fmt.Printf("%s %s\n", strings.TrimSpace(string(out)), toolRevision)
		}
		return err
	}
	if name == "asm" {
		done, err := changeSources(args)
		if err != nil {
			return err
		}
		defer done()
		return run()
	}
	if err := run(); err != nil {
		return err
	}
	program := value(args, "-o")
	if program == "" {
		return nil
	}
	if err := guest.Finish(program); err != nil {
		return fmt.Errorf("the program %w (pinhole go links without cgo and without other linkers)", err)
	}
	sites, err := nosyscall.GoProgram(program)
	if err == nil && len(sites) > 0 {
		err = fmt.Errorf("the program has instructions that enter a host kernel, which Pinhole's gate cannot replace:\n%s", nosyscall.List(sites))
	}
	return err
}

// value returns the value of a tool's flag, "" if it is not given.
func value(args []string, flag string) string {
	for i, a := range args {
		if a == flag && i+1 < len(args) {
			return args[i+1]
		}
		if v, ok := strings.CutPrefix(a, flag+"="); ok {
			return v
		}
	}
	return ""
}

// changeSources puts changed copies in the place of those of the assembler's sources that enter a
// kernel. In line tables they keep their names. done removes the copies.
func changeSources(args []string) (done func(), err error) {
	dir := ""
	done = func() {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}
	rules := value(args, "-trimpath")
	renamed := ""
	for i := len(args) - 1; i >= 0 && strings.HasSuffix(args[i], ".s"); i-- {
		text, err := os.ReadFile(args[i])
		if err != nil {
			done()
			return nil, err
		}
		changed, ok := guest.ChangeAssembly(string(text))
		if !ok {
			continue
		}
		if dir == "" {
			if dir, err = os.MkdirTemp("", "pinhole-asm-"); err != nil {
				return nil, err
			}
		}
		path, err := filepath.Abs(args[i])
		copied := filepath.Join(dir, fmt.Sprintf("%d-%s", i, filepath.Base(args[i])))
		if err == nil {
			err = os.WriteFile(copied, []byte(changed), 0o666)
		}
		if err != nil {
			done()
			return nil, err
		}
		// The first rule that fits is the only one that is applied.
		renamed += copied + "=>" + trim(path, rules) + ";"
		args[i] = copied
	}
	if renamed != "" {
		for i, a := range args {
			if a == "-trimpath" && i+1 < len(args) {
				args[i+1] = renamed + args[i+1]
				break
			}
		}
	}
	return done, nil
}

// trim applies the assembler's flag -trimpath, "FROM=>TO;FROM;...", to a path.
func trim(path, rules string) string {
	for rule := range strings.SplitSeq(rules, ";") {
		from, to, _ := strings.Cut(rule, "=>")
		rest, ok := strings.CutPrefix(path, from)
		switch {
		case !ok || from == "" || rest != "" && rest[0] != '/' && !strings.HasSuffix(from, "/"):
		case to == "":
			return strings.TrimPrefix(rest, "/")
		default:
			return to + rest
		}
	}
	return path
}
