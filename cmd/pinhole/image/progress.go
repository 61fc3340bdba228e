package image

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows on a terminal how far a copy is. Nil shows nothing.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress begins a bar of total bytes; -1: not known. It shows up only if it takes a while.
func newProgress(what string, total int64) *progress {
	out := io.Writer(os.Stderr)
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return &progress{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(&delayed{w: out, until: time.Now().Add(500 * time.Millisecond)}),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetWidth(20),
	)}
}

// delayed throws away what is written before a time.
type delayed struct {
	w     io.Writer
	until time.Time
	shown bool
}

func (d *delayed) Write(p []byte) (int, error) {
	if !d.shown && time.Now().Before(d.until) {
		return len(p), nil
	}
	d.shown = true
	return d.w.Write(p)
}

func (p *progress) add(n int64) {
	if p != nil {
		p.bar.Add64(n)
	}
}

func (p *progress) done() {
	if p != nil {
		p.bar.Finish()
	}
}
