package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/term"

	"pinhole/blockdev/filedev"
	"pinhole/fs/ext4/check"
)

type checkCmd struct {
	JSON   bool   `name:"json" help:"Write the report as JSON."`
	Repair bool   `help:"Replay the journal and finish deletions, as the next use of the image would, and check what then is. More than that it does not repair: e2fsck does."`
	E2fsck bool   `name:"e2fsck" help:"Let e2fsck of the host check, too."`
	Quiet  bool   `short:"q" help:"Say nothing but what is wrong."`
	Image  string `arg:"" help:"Image file."`
}

// Help implements kong.HelpProvider.
func (c *checkCmd) Help() string {
	return `Checks everything that "e2fsck -fn" does, without changing the image: every inode, map of blocks, directory, attribute, checksum, bitmap and count. An image that was not unmounted is judged as its next use will find it, after the journal's replay.

Ends with 0 if there is no damage (1 if --repair changed something), 4 if there is, 8 if the check could not be done.`
}

// Exit statuses, as e2fsck's.
const (
	checkMended  = 1
	checkDamaged = 4
	checkFailed  = 8
)

// exitError is an error that ends pinhole with a certain status.
type exitError struct {
	error
	status int
}

// ExitCode returns the exit status.
func (e exitError) ExitCode() int { return e.status }

// Unwrap returns the error without the status.
func (e exitError) Unwrap() error { return e.error }

// Run implements the command.
func (c *checkCmd) Run() error {
	err := c.run()
	var status exitError
	if err != nil && !errors.As(err, &status) {
		err = exitError{err, checkFailed}
	}
	return err
}

func (c *checkCmd) run() error {
	f, err := openLocked(c.Image, c.Repair)
	if err != nil {
		return err
	}
	defer f.Close()
	mended := false
	if c.Repair {
		if mended, err = c.repair(f); err != nil {
			return err
		}
	}
	r, err := c.check(f)
	if err != nil {
		return fmt.Errorf("image %s: %w", c.Image, err)
	}
	var more []string
	if c.E2fsck && !r.Replayed {
		if more, err = hostE2fsck(f); err != nil {
			return err
		}
	}
	if c.JSON {
		err = c.json(r, mended, more)
	} else {
		err = c.text(os.Stdout, r, more)
	}
	if err == nil && mended {
		err = exitError{fmt.Errorf("image %s: mended: the journal was replayed", c.Image), checkMended}
	}
	return err
}

// check runs the check, with a bar on a terminal.
func (c *checkCmd) check(f *os.File) (*check.Report, error) {
	dev, err := filedev.New(f)
	if err != nil {
		return nil, err
	}
	bar := newCheckBar()
	defer bar.finish()
	r, err := check.Run(dev, check.Options{Replay: true, Paths: true, Progress: bar.show})
	if errors.Is(err, check.ErrUnsupported) {
		return nil, fmt.Errorf("%w; e2fsck may", err)
	}
	return r, err
}

// repair lets the file system mend what it mends at every mount; changed tells that there was something.
func (c *checkCmd) repair(f *os.File) (changed bool, err error) {
	before, err := c.check(f)
	if err != nil {
		return false, fmt.Errorf("image %s: %w", c.Image, err)
	}
	if !before.Clean() || !before.NeedsRecovery && before.Orphans == 0 {
		return false, nil
	}
	im, err := mount(c.Image, f, true)
	if err != nil {
		return false, err
	}
	if e := im.ns.Close(); e != 0 {
		return false, im.fail("", e)
	}
	return true, nil
}

// json writes the report for programs.
func (c *checkCmd) json(r *check.Report, mended bool, more []string) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	err := e.Encode(struct {
		Image  string `json:"image"`
		Clean  bool   `json:"clean"`
		Mended bool   `json:"mended"`
		*check.Report
		E2fsck []string `json:"e2fsck,omitempty"`
	}{c.Image, r.Clean() && len(more) == 0, mended, r, more})
	if err == nil && (!r.Clean() || len(more) > 0) {
		err = c.damaged(r, len(more))
	}
	return err
}

// mostProblems bounds what is shown.
const mostProblems = 50

// text writes the report for people.
func (c *checkCmd) text(w io.Writer, r *check.Report, more []string) error {
	shown := 0
	for _, p := range r.Problems {
		switch {
		case p.Severity == check.Note && c.Quiet:
		case shown >= mostProblems:
		case p.Severity == check.Note:
			fmt.Fprintf(w, "note: %s\n", p)
			shown++
		default:
			fmt.Fprintf(w, "%s [%s]\n", p, p.Code)
			shown++
		}
	}
	if left := r.Errors + r.Notes - shown; left > 0 && shown == mostProblems {
		fmt.Fprintf(w, "and %d more (--json has up to 1000)\n", left)
	}
	for _, line := range more {
		fmt.Fprintf(w, "e2fsck: %s\n", line)
	}
	if !r.Clean() || len(more) > 0 {
		return c.damaged(r, len(more))
	}
	if !c.Quiet {
		percent := func(a, b uint64) float64 { return 100 * float64(a) / float64(max(b, 1)) }
		fmt.Fprintf(w, "%s: no damage found (%d files, %d directories; %.1f%% of %d inodes and %.1f%% of %d blocks of %d bytes in use)\n",
			c.Image, r.Files, r.Directories, percent(r.UsedInodes, r.Inodes), r.Inodes, percent(r.UsedBlocks, r.Blocks), r.Blocks, r.BlockSize)
	}
	return nil
}

// damaged says that there is damage, and what to do.
func (c *checkCmd) damaged(r *check.Report, more int) error {
	for _, p := range r.Problems {
		if p.Code == check.SuperMagic {
			return fmt.Errorf("image %s: not an ext4 image: %s", c.Image, p.Text)
		}
		if p.Severity == check.Fatal {
			return exitError{fmt.Errorf("image %s: damaged: %s", c.Image, p), checkDamaged}
		}
	}
	return exitError{fmt.Errorf("image %s: damaged (%d problems); repair a copy of it with \"e2fsck -f\"", c.Image, r.Errors+more), checkDamaged}
}

// hostE2fsck runs e2fsck, which only looks, and returns what it says.
func hostE2fsck(f *os.File) ([]string, error) {
	tool, err := findTool("e2fsck")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(tool, "-fn", "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{f}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() >= checkFailed) {
		return nil, fmt.Errorf("%s: %w: %s", tool, err, bytes.TrimSpace(out))
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "Pass ") && !strings.HasPrefix(line, "e2fsck ") && !strings.HasPrefix(line, "/proc/self/fd/") {
			lines = append(lines, line)
		}
	}
	if exit == nil {
		lines = nil
	}
	return lines, nil
}

// checkBar shows on a terminal how far a check is. Nil shows nothing.
type checkBar struct {
	next  time.Time
	shown bool
}

func newCheckBar() *checkBar {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return &checkBar{next: time.Now().Add(progressAfter)}
}

func (b *checkBar) show(p check.Progress) {
	if b == nil {
		return
	}
	if now := time.Now(); !now.Before(b.next) {
		b.next, b.shown = now.Add(progressEvery), true
		part := float64(p.Done) / float64(max(p.Total, 1))
		full := int(part * progressWidth)
		fmt.Fprintf(os.Stderr, "\rchecking, pass %d of 5 [%-*s] %3.0f%%\x1b[K", p.Pass, progressWidth, strings.Repeat("=", full)+">", part*100)
	}
}

func (b *checkBar) finish() {
	if b != nil && b.shown {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
