package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

type testCmd struct {
	Long     bool     `help:"Run the long forms of the tests, too: an hour and more. The same as PINHOLE_LONG=1."`
	NoBuild  bool     `help:"Test what is built already."`
	Packages []string `arg:"" optional:"" help:"Packages to test; all when none is given."`
}

func (c testCmd) Run(ctx context.Context, t *tree) error {
	if !c.NoBuild {
		if err := (buildCmd{}).Run(ctx, t); err != nil {
			return err
		}
	}
	checked := t.check(ctx)
	t.ui.end()
	if checked != nil {
		fmt.Printf("%v\n", checked)
	}
	// Tests of a folder of programs are longer than go's default of ten minutes allows for.
	args := []string{"test", "-json", "-timeout", "20m", "-short"}
	if c.Long {
		args = []string{"test", "-json", "-timeout", "3h"}
	}
	if len(c.Packages) == 0 {
		c.Packages = []string{"./..."}
	}
	cmd := t.goCmd(ctx, append(args, c.Packages...)...)
	conf, err := t.clocklessFsck()
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Environ(), "E2FSCK_CONFIG="+conf)
	if c.Long {
		cmd.Env = append(cmd.Env, "PINHOLE_LONG=1")
	}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	sum := newSummary()
	sum.read(out, t.ui)
	err = cmd.Wait()
	t.ui.end()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		return err
	}
	if err != nil && sum.failed == 0 { // go itself has failed
		sum.failed++
		fmt.Printf("go test: %v\n%s\n", err, said.String())
	}
	if checked != nil {
		sum.failed++
	}
	sum.print(os.Stdout)
	if sum.failed > 0 {
		return exitStatus(1)
	}
	return nil
}

// clocklessFsck writes a configuration for e2fsck (e2fsck.conf(5)) by which it does not complain of times in the
// future, and returns its path: a host whose clock is set back while the tests run would make them fail.
func (t *tree) clocklessFsck() (string, error) {
	name := t.path("build", "work", "e2fsck.conf")
	return name, os.WriteFile(name, []byte("[options]\n\tbroken_system_clock = true\n"), 0o644)
}

// summary counts the events of "go test -json" (go doc test2json).
type summary struct {
	passed, failed, skipped int

	output  map[string][]string // of what runs still, by package and test
	reasons []string            // one line for each skip
}

type testEvent struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

func newSummary() *summary { return &summary{output: map[string][]string{}} }

// read takes all events in, prints the output of what failed as it comes, and a line for
// each package.
func (s *summary) read(r io.Reader, u *ui) {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e testEvent
			if json.Unmarshal(line, &e) != nil {
				u.end()
				fmt.Printf("%s", line) // go says something else
			} else {
				s.add(e, u)
			}
		}
		if err != nil {
			return
		}
	}
}

func (s *summary) add(e testEvent, u *ui) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		s.output[key] = append(s.output[key], e.Output)
	case "build-output":
		u.end()
		fmt.Print(e.Output)
	case "pass", "skip", "fail":
		out := s.output[key]
		delete(s.output, key)
		if e.Test == "" {
			s.endPackage(e, out, u)
			return
		}
		switch e.Action {
		case "pass":
			s.passed++
		case "skip":
			s.skipped++
			s.reasons = append(s.reasons, fmt.Sprintf("%s %s: %s", short(e.Package), e.Test, reason(out)))
		case "fail":
			s.failed++
			u.end()
			fmt.Print(strings.Join(out, ""))
		}
		if u.terminal {
			u.progress("testing", s.passed, 0)
		}
	}
}

// endPackage reports a package. One that fails without a failed test, because it does not
// build or its process ends, is a failure of its own.
func (s *summary) endPackage(e testEvent, out []string, u *ui) {
	if e.Action == "skip" { // it has no tests
		return
	}
	u.end()
	if e.Action == "fail" {
		unfinished := false
		for key, rest := range s.output {
			if strings.HasPrefix(key, e.Package+" ") {
				unfinished = true
				fmt.Print(strings.Join(rest, ""))
				delete(s.output, key)
			}
		}
		text := strings.Join(out, "")
		if unfinished || strings.Contains(text, "panic:") || strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]") {
			s.failed++
		}
		fmt.Print(text)
	}
	fmt.Printf("%-4s %s (%.1f s)\n", map[string]string{"pass": "ok", "fail": "FAIL"}[e.Action], short(e.Package), e.Elapsed)
}

// reason finds what a skipped test has said in its output.
func reason(out []string) string {
	var said []string
	for _, line := range out {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if where, text, ok := strings.Cut(line, ": "); ok && strings.Contains(where, ".go:") {
			line = text
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// short is a package's path in this module.
func short(pkg string) string { return strings.TrimPrefix(pkg, "pinhole/") }

// print ends with the line that counts.
func (s *summary) print(w io.Writer) {
	if len(s.reasons) > 0 {
		slices.Sort(s.reasons)
		fmt.Fprintf(w, "\nskipped:\n")
		for _, r := range s.reasons {
			fmt.Fprintf(w, "  %s\n", r)
		}
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
}
