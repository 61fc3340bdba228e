package image

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"pinhole/cmd/pinhole/units"
)

// progress shows on a terminal how far a copy is. Nil shows nothing. One goroutine uses it at a time.
type progress struct {
	out         io.Writer
	what        string
	total, done int64 // bytes; total -1: not known
	begun       time.Time
	percent     bool // not bytes, but steps of some kind

	pool *mpb.Progress // nil: nothing is shown yet
	bar  *mpb.Bar
}

// A copy that is done soon shows nothing.
const (
	progressAfter = 500 * time.Millisecond
	progressEvery = 100 * time.Millisecond
	progressWidth = 60 // characters of a terminal that has more
)

// newProgress begins a bar of total bytes; -1: not known.
func newProgress(what string, total int64) *progress {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return &progress{out: os.Stderr, what: what, total: total, begun: time.Now()}
}

func (p *progress) add(n int64) {
	if p == nil {
		return
	}
	p.done += n
	if p.bar == nil {
		if time.Since(p.begun) < progressAfter {
			return
		}
		p.show()
	}
	p.bar.SetCurrent(p.done)
}

// show begins to draw. The bar's total is set apart from its making, since one that is made with a total
// ends by itself when it is full, and totals are estimates.
func (p *progress) show() {
	p.pool = mpb.New(mpb.WithOutput(p.out), mpb.WithRefreshRate(progressEvery), mpb.WithAutoRefresh(), mpb.WithWidth(progressWidth))
	style := mpb.NopStyle()
	if p.total > 0 {
		style = mpb.BarStyle().Tip(">").Padding(" ")
	}
	percent := p.percent
	p.bar = p.pool.New(0, style,
		mpb.PrependDecorators(decor.Name(p.what)),
		mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string { return progressState(s.Current, s.Total, percent) })))
	p.bar.SetTotal(p.total, false)
}

// progressState is what stands behind the bar: "33%  1.2G of 3.6G".
func progressState(done, total int64, percent bool) string {
	if total <= 0 {
		return units.Format(done)
	}
	done = min(done, total)
	part := fmt.Sprintf("%3.0f%%", float64(done)/float64(total)*100)
	if percent {
		return part
	}
	return fmt.Sprintf("%s  %s of %s", part, units.Format(done), units.Format(total))
}

func (p *progress) finish() {
	if p != nil && p.bar != nil {
		p.bar.Abort(true)
		p.pool.Wait()
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
	if s.p == nil {
		return
	}
	s.p.total, s.p.done = total, done
	if s.p.bar != nil {
		s.p.bar.SetTotal(total, false)
	}
	s.p.add(0)
}

func (s steps) finish() { s.p.finish() }
