package image

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, what: "copying", total: 10 << 20, begun: time.Now().Add(time.Hour)}
	p.add(3 << 20)
	if p.finish(); out.Len() != 0 {
		t.Errorf("a copy that is done soon shows %q", out.String())
	}
	p.begun = time.Time{}
	p.add(2 << 20)
	// The first picture is drawn by itself, some time.
	time.Sleep(3 * progressEvery)
	p.add(20 << 20) // more than was expected: no end
	time.Sleep(3 * progressEvery)
	p.finish()
	shown := out.String()
	for _, want := range []string{"copying [", " 50%  5.0M of 10M", "100%  10M of 10M"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not shown: %q", want, shown)
		}
	}
	if strings.Count(shown, "\n") > strings.Count(shown, "\x1b[") {
		t.Errorf("lines are left behind: %q", shown)
	}
	(*progress)(nil).add(1)
	(*progress)(nil).finish()
}

func TestProgressState(t *testing.T) {
	for _, c := range []struct {
		done, total int64
		percent     bool
		want        string
	}{
		{1 << 20, -1, false, "1.0M"},
		{0, 0, false, "0"},
		{0, 100, false, "  0%  0 of 100"},
		{100, 100, false, "100%  100 of 100"},
		{200, 100, false, "100%  100 of 100"},
		{1 << 62, 1<<63 - 1, true, " 50%"},
	} {
		if got := progressState(c.done, c.total, c.percent); got != c.want {
			t.Errorf("%d of %d: got %q, want %q", c.done, c.total, got, c.want)
		}
	}
}
