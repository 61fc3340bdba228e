package vfstest

import "time"

// A shortening stops after so many tries, or so long.
const (
	shrinkTries = 600
	shrinkTime  = 4 * time.Minute
)

// shrink looks for a shorter sequence that fails as well: it leaves out parts, large ones first
// and then smaller and smaller ones, as long as what is left fails (Zeller's ddmin).
func (c *Comparison) shrink(f *Failure) *Failure {
	best := f
	tries := 0
	deadline := time.Now().Add(shrinkTime)
	fails := func(lines []string) bool {
		tries++
		g := c.replay(lines)
		if g == nil {
			return false
		}
		g.Seed = f.Seed
		best = g
		return true
	}
	if !fails(f.Lines) {
		f.What += "\n(the same steps do not always fail)"
		return f
	}
	for size := (len(best.Lines) + 1) / 2; size > 0; {
		shorter := false
		for at := len(best.Lines) - 1 - size; at >= 0; at -= size {
			if tries > shrinkTries || time.Now().After(deadline) {
				return best
			}
			lines := best.Lines
			if at+size > len(lines) {
				continue
			}
			// The last one is the one that shows it.
			less := append(append([]string{}, lines[:at]...), lines[at+size:]...)
			shorter = fails(less) || shorter
		}
		if size == 1 && !shorter {
			break
		}
		if !shorter || size > len(best.Lines)/2 {
			size = max(size/2, 1)
		}
	}
	return best
}
