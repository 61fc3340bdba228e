package image

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"pinhole/cmd/pinhole/units"
)

// progress shows on a terminal how far a copy is. Nil shows nothing. It is no library's because the ones there
// are bring an HTTP client with them, into the one program that starts and supervises every sandbox.
type progress struct {
	out         io.Writer
	what        string
	total, done int64 // bytes; total -1: not known
	next        time.Time
	shown       bool
	percent     bool // not bytes, but steps of some kind
}

// A copy that is done soon shows nothing.
const (
	progressAfter = 500 * time.Millisecond
	progressEvery = 100 * time.Millisecond
	progressWidth = 20 // characters
)

// newProgress begins a bar of total bytes; -1: not known.
func newProgress(what string, total int64) *progress {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return &progress{out: os.Stderr, what: what, total: total, next: time.Now().Add(progressAfter)}
}

func (p *progress) add(n int64) {
	if p == nil {
		return
	}
	p.done += n
	if now := time.Now(); !now.Before(p.next) {
		p.next, p.shown = now.Add(progressEvery), true
		fmt.Fprintf(p.out, "\r%s\x1b[K", p.line())
	}
}

// line is what is shown: "copying [======>             ]  33%  1.2G of 3.6G".
func (p *progress) line() string {
	if p.total <= 0 {
		return fmt.Sprintf("%s %s", p.what, units.Format(p.done))
	}
	part := float64(min(p.done, p.total)) / float64(p.total)
	full := int(part * progressWidth)
	bar := strings.Repeat("=", full)
	if full < progressWidth {
		bar += ">"
	}
	if p.percent {
		return fmt.Sprintf("%s [%-*s] %3.0f%%", p.what, progressWidth, bar, part*100)
	}
	return fmt.Sprintf("%s [%-*s] %3.0f%%  %s of %s", p.what, progressWidth, bar, part*100, units.Format(p.done), units.Format(p.total))
}

func (p *progress) finish() {
	if p != nil && p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// steps is a progress of something that is not counted in bytes.
type steps struct{ p *progress }

func newSteps(what string) steps {
	p := newProgress(what, -1)
	if p != nil {
		p.percent = true
	}
	return steps{p}
}

// at says how far it is.
func (s steps) at(done, total int64) {
	if s.p != nil {
		s.p.total, s.p.done = total, done
		s.p.add(0)
	}
}

func (s steps) finish() { s.p.finish() }
