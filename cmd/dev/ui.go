package main

import (
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// ui shows what is being done: on a terminal as a bar that a next one replaces, elsewhere as
// a line for each step.
type ui struct {
	out      *os.File
	terminal bool
	what     string
	total    int
	bar      *progressbar.ProgressBar
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
		length := total
		if length == 0 {
			length = -1
		}
		u.bar = progressbar.NewOptions(length,
			progressbar.OptionSetWriter(u.out),
			progressbar.OptionSetDescription(what),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSpinnerType(14),
			progressbar.OptionFullWidth())
		u.bar.RenderBlank()
	}
	if u.bar != nil {
		u.bar.Set(done)
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
		u.bar.Clear()
	}
	u.bar, u.what = nil, ""
}
