package image

import (
	"bytes"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, what: "copying", total: 10 << 20, next: time.Now().Add(time.Hour)}
	p.add(3 << 20)
	if p.finish(); out.Len() != 0 {
		t.Errorf("a copy that is done soon shows %q", out.String())
	}
	p.next = time.Time{}
	p.add(2 << 20)
	p.add(1 << 20) // too soon after the last
	p.finish()
	if want := "\rcopying [==========>         ]  50%  5.0M of 10M\x1b[K\r\x1b[K"; out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
	for _, c := range []struct {
		total, done int64
		want        string
	}{
		{-1, 1 << 20, "copying 1.0M"},
		{0, 0, "copying 0"},
		{100, 0, "copying [>                   ]   0%  0 of 100"},
		{100, 100, "copying [====================] 100%  100 of 100"},
		{100, 200, "copying [====================] 100%  200 of 100"},
	} {
		if got := (&progress{what: "copying", total: c.total, done: c.done}).line(); got != c.want {
			t.Errorf("%d of %d: got %q, want %q", c.done, c.total, got, c.want)
		}
	}
	(*progress)(nil).add(1)
	(*progress)(nil).finish()
}
