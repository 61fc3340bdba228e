package main

import (
	"fmt"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// ui shows what is being done: on a terminal as a bar that a next one replaces, elsewhere as
// a line for each step.
type ui struct {
	out      *os.File
	terminal bool
	what     string
	total    int
	pool     *mpb.Progress
	bar      *mpb.Bar
}

func newUI(out *os.File) *ui {
	return &ui{out: out, terminal: term.IsTerminal(int(out.Fd()))}
}

// progress says what is being done, and how far it is; total is 0 where that is not known.
func (u *ui) progress(what string, done, total int) {
	if what != u.what || total != u.total {
		u.end()
		u.what, u.total = what, total
		if !u.terminal {
			fmt.Fprintf(u.out, "%s\n", what)
			return
		}
		u.pool = mpb.New(mpb.WithOutput(u.out), mpb.WithRefreshRate(100*time.Millisecond))
		style, state := mpb.BarFillerBuilder(mpb.SpinnerStyle().PositionLeft()), decor.Elapsed(decor.ET_STYLE_GO)
		if total > 0 {
			style, state = mpb.BarStyle().Tip(">").Padding(" "), decor.CountersNoUnit("%d of %d")
		}
		// A bar that is made with a total ends by itself when it is full.
		u.bar = u.pool.New(0, style, mpb.PrependDecorators(decor.Name(what)), mpb.AppendDecorators(state))
		u.bar.SetTotal(int64(total), false)
	}
	if u.bar != nil {
		u.bar.SetCurrent(int64(done))
	}
}

// say prints a line that stays.
func (u *ui) say(format string, args ...any) {
	u.end()
	fmt.Fprintf(u.out, format+"\n", args...)
}

// end takes the bar away.
func (u *ui) end() {
	if u.bar != nil {
		u.bar.Abort(true)
		u.pool.Wait()
	}
	u.bar, u.pool, u.what = nil, nil, ""
}
