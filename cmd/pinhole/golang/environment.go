package golang

import (
	"os"
	"strconv"
	"strings"
)

// passed are the environment variables that get into a sandbox, by name or with a star by how it begins.
var passed = []string{"GO*", "CGO_ENABLED", "HOME", "TMPDIR", "PATH", "PWD", "TZ", "USER", "LOGNAME", "LANG", "LC_*", "TERM", "SHELL"}

// Environment is what of the environment gets into a sandbox.
func Environment() []string {
	var env []string
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		if (name == "TMPDIR" || name == "GOTMPDIR") && hidden(value) {
			continue
		}
		for _, p := range passed {
			if begin, star := strings.CutSuffix(p, "*"); name == p || star && strings.HasPrefix(name, begin) {
				env = append(env, e)
				break
			}
		}
	}
	return env
}

// Owner is the user in the sandbox: the one outside.
func Owner() string { return strconv.Itoa(os.Getuid()) + ":" + strconv.Itoa(os.Getgid()) }
