package check

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pinhole/fs/ext4/disk"
)

// survive runs the check on an image in every way, and reports a panic, an error that is none of the device's,
// and a check that takes much longer than one of the undamaged image.
func survive(t *testing.T, p []byte, what func() string) {
	t.Helper()
	defer func() {
		if e := recover(); e != nil {
			t.Errorf("%s: %v\n%s", what(), e, debug.Stack())
		}
	}()
	const patience = 20 * time.Second
	for _, o := range []Options{{Paths: true}, {Replay: true, Paths: true}} {
		start := time.Now()
		r, err := Run(&memory{p: p}, o)
		if err != nil && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", what(), err)
		}
		if err == nil && r.Errors+r.Notes > maxProblems+1 {
			t.Errorf("%s: %d problems", what(), r.Errors+r.Notes)
		}
		if d := time.Since(start); d > patience {
			t.Errorf("%s: took %v", what(), d)
		}
	}
}

// TestPairs damages several fields of an image at once, with checksums that go with them, cuts images off and
// damages what their journals bring home: the check never panics, and ends. PINHOLE_SEED makes other values.
func TestPairs(t *testing.T) {
	rounds := 60
	switch {
	case os.Getenv("PINHOLE_LONG") != "":
		rounds = 4000
	case testing.Short():
		rounds = 20
	}
	seed := uint64(1)
	if s := os.Getenv("PINHOLE_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("PINHOLE_SEED=%d", seed)
	for i, im := range corpusImages {
		t.Run(im.name, func(t *testing.T) {
			path := corpusImage(t, im.name, im.size, im.opts, im.unclean)
			m := openMap(t, path)
			r := rand.New(rand.NewPCG(uint64(i), seed))
			cases := m.cases(r)
			var log []uint64
			if m.sb.JournalInum != 0 {
				log, _ = m.blocks(m.sb.JournalInum)
			}
			p := slices.Clone(m.raw)
			for range rounds {
				var done []string
				what := func() string { return strings.Join(done, "; ") }
				var dirty []patch
				for range 1 + r.IntN(4) {
					c := cases[r.IntN(len(cases))]
					// Fields without a mended checksum mostly end in a problem and no more.
					if m.csum && !strings.Contains(c.what, "mended") && r.IntN(4) > 0 {
						continue
					}
					done = append(done, c.String())
					for _, x := range c.patches {
						dirty = append(dirty, patch{x.off, slices.Clone(p[x.off:][:len(x.data)])})
						copy(p[x.off:], x.data)
					}
				}
				if im.unclean && r.IntN(3) == 0 {
					// What the journal brings home.
					off := int64(log[1+r.IntN(12)])*int64(m.bs) + int64(r.IntN(m.bs))
					dirty = append(dirty, patch{off, []byte{p[off]}})
					p[off] ^= 1 << r.IntN(8)
					done = append(done, fmt.Sprintf("byte %d is %#x", off, p[off]))
				}
				cut := p
				if r.IntN(20) == 0 {
					cut = p[:r.IntN(len(p))]
					done = append(done, fmt.Sprintf("%d bytes are left", len(cut)))
				}
				mendSuper(p)
				survive(t, cut, what)
				for _, x := range slices.Backward(dirty) {
					copy(p[x.off:], x.data)
				}
				copy(p[disk.SuperblockOffset:][:disk.SuperblockSize], m.raw[disk.SuperblockOffset:])
			}
		})
	}
}
