package main

import (
	"strconv"
	"strings"
)

// quick parses the arguments of run as kong would, if they are plain enough: setting kong up takes a
// millisecond, a fifth of what a small program takes from start to end. It also keeps arguments that
// are not UTF-8 as they are, which kong does not. What is unusual or wrong is not ok, and left to kong, which says
// what is wrong with it.
func quick(args []string) (c runCmd, ok bool) {
	if c.Memory.UnmarshalText([]byte(defaultMemory)) != nil {
		return c, false
	}
	c.Cwd = "/"
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" && len(args) > 1 {
			c.Command = args[1:]
			return c, !(c.ReadOnly && c.Ephemeral)
		}
		if !strings.HasPrefix(arg, "-") {
			c.Command = args
			return c, arg != "" && !(c.ReadOnly && c.Ephemeral)
		}
		name, value, given := strings.Cut(arg, "=")
		switch name {
		case "--read-only", "--ephemeral", "--require-layers":
			if given {
				return c, false
			}
			switch name {
			case "--read-only":
				c.ReadOnly = true
			case "--ephemeral":
				c.Ephemeral = true
			default:
				c.RequireLayers = true
			}
			args = args[1:]
			continue
		case "--trace":
			c.Trace = "-"
			if given {
				c.Trace = trace(value)
			}
			args = args[1:]
			continue
		}
		if !strings.HasPrefix(arg, "--") && given {
			return c, false // -e=...: kong has rules of its own
		}
		args = args[1:]
		if !given {
			if len(args) == 0 || strings.HasPrefix(args[0], "-") {
				return c, false
			}
			value, args = args[0], args[1:]
		}
		ok = true
		switch name {
		case "--image", "-i":
			c.Image = value
		case "--memory", "-m":
			ok = c.Memory.UnmarshalText([]byte(value)) == nil
		case "--env", "-e":
			c.Env = append(c.Env, value)
		case "--cwd", "-C":
			c.Cwd = value
		case "--user", "-u":
			c.User = value
		case "--cpus":
			c.CPUs, ok = number(value)
		case "--host-threads":
			c.HostThreads, ok = number(value)
		default:
			return c, false
		}
		if !ok {
			return c, false
		}
	}
	return c, false
}

// number takes a decimal number as it is usually written.
func number(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && strconv.Itoa(n) == s
}
