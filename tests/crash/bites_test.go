package crash

import (
	"slices"
	"strings"
	"testing"

	"pinhole/blockdev/faultdev"
)

// TestBites breaks what the file system relies on, and what programs do. The tests must notice:
// one that cannot fail shows nothing.
func TestBites(t *testing.T) {
	needJournal(t)
	const text = "write A/foo 10000 9000; fsync A/foo; rename A/foo B/foo; fsync B; append B/foo 5000; unlink A/bar; fsync B/foo; creat A/bar; append A/bar 3000; sync"
	base := workload{name: "bites", disk: "1k", setup: smallTree, threads: [][]op{parseScript(text)}, all: 6}
	for _, c := range []struct {
		name  string
		spoil func(*record)
		want  []string // one of these is in the failures
	}{
		{"nothing", func(*record) {}, nil},
		{"flushes that do nothing", func(r *record) {
			for i := range r.events {
				if e := &r.events[i]; e.Op == faultdev.Flush {
					e.Covers = 0
				}
			}
		}, []string{"too early", "is not silent", "want what was written"}},
		{"fsync that does nothing", func(r *record) {
			// As if the last one had come before what it was to make durable.
			log := r.oracle.threads[0].log
			for i := range log {
				if log[i].persists() {
					log[i].beginAt, log[i].endAt = 0, 0
				}
			}
		}, []string{"too early"}},
		{"a rename that is not in the journal", func(r *record) {
			// The model knows of a rename that the disk has never heard of.
			m := r.oracle.threads[0].model
			for k := r.oracle.setup + 3; k < len(m.digests); k++ {
				m.digests[k]++
			}
		}, []string{"before none of the operations", "too early"}},
		{"content of another file", func(r *record) {
			var other []byte
			f := r.oracle.threads[0].model.find("B/foo")
			for i := range r.events {
				e := &r.events[i]
				if e.Op != faultdev.Write || len(e.Data) < 1024 {
					continue
				}
				if other == nil {
					other = make([]byte, 1024)
					fill(other, f.tag+1, 1, 0)
				}
				// What the first write has written, from 11k on.
				if at := indexOf(e.Data, f.tag, uint32(r.oracle.setup)+1, 11<<10); at >= 0 {
					e.Data = slices.Clone(e.Data)
					copy(e.Data[at:], other)
				}
			}
		}, []string{"garbage", "what operation"}},
		{"a size that comes before its content", func(r *record) {
			// The new blocks' content goes to the disk when fsync's last flush is over.
			th := r.oracle.threads[0]
			last := th.log[1].endAt - 1
			f := th.model.find("B/foo")
			for i, e := range r.events[:last] {
				if e.Op == faultdev.Write && indexOf(e.Data, f.tag, uint32(r.oracle.setup)+1, 13<<10) >= 0 {
					copy(r.events[i:last], r.events[i+1:last+1])
					r.events[last] = e
					for k := i; k < last; k++ {
						if r.events[k].Op == faultdev.Flush {
							r.events[k].Covers--
						}
					}
					return
				}
			}
			panic("the content is not written")
		}, []string{"want what was written", "is a hole", "zeros"}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			w := base
			rec, err := w.execute(t)
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(rec)
			l := newLooker(t)
			defer l.close()
			var found []string
			hit := false
			for s := range w.crashes(rec).States() {
				if err := l.check(rec, s); err != nil {
					found = append(found, err.Error())
					hit = slices.ContainsFunc(c.want, func(w string) bool { return strings.Contains(err.Error(), w) })
					if hit {
						break
					}
				}
			}
			switch {
			case c.want == nil && len(found) > 0:
				t.Errorf("it fails though nothing is wrong: %s", found[0])
			case c.want != nil && !hit:
				t.Errorf("not noticed; %d failures: %q", len(found), found[:min(len(found), 3)])
			}
		})
	}
}

// indexOf finds in what was written to the disk the kilobyte of a file at offset off.
func indexOf(p []byte, file, version uint32, off int64) int {
	for at := 0; at+1024 <= len(p); at += 1024 {
		if matches(p[at:at+1024], file, version, off) {
			return at
		}
	}
	return -1
}
