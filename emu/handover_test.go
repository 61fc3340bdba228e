package emu

import "testing"

// TestHandOver: a task is counted on to park soon after a wake once it has done so a few times in a row, and
// not for a while once it has not done so.
func TestHandOver(t *testing.T) {
	var h handOver
	now := int64(1)
	wake := func(after int64) (counted bool) {
		now += 1000
		counted = h.woke(now)
		if after > 0 {
			now += after
			h.parks(now)
		}
		return counted
	}
	trusted := func() (n int) {
		for n = range 1000 {
			if wake(handOverSoon / 2) {
				return n
			}
		}
		return n
	}
	if n := trusted(); n != handOverSure {
		t.Errorf("it is counted on after %d times", n)
	}
	if !wake(2*handOverSoon) || wake(handOverSoon/2) {
		t.Error("it is not counted on, or still is after it has not parked")
	}
	if n := trusted(); n != handOverSure+handOverLeastDoubt-1 {
		t.Errorf("after it has parked late it is counted on after %d more times", n)
	}
	if !wake(0) || wake(handOverSoon/2) {
		t.Error("it is not counted on, or still is after another wake without parking")
	}
	doubt := 2*handOverLeastDoubt - 1 // it was counted on once with success
	if n := trusted(); n != handOverSure+doubt-1 {
		t.Errorf("after it has not parked it is counted on after %d more times", n)
	}
	// Who often fails is hardly ever counted on; who stops to is trusted as before.
	for range 10 {
		wake(0)
		trusted()
	}
	counted := 0
	for i := range 600 {
		after := int64(handOverSoon / 2)
		if h.soon == handOverSure {
			after = 0
		}
		if wake(after) && i > 0 {
			counted++
		}
	}
	if counted > 2 {
		t.Errorf("a task that always fails was counted on %d times of 600", counted)
	}
	trusted()
	for range handOverMostDoubt {
		wake(1)
	}
	wake(0)
	wake(1)
	if n := trusted(); n > handOverSure+handOverLeastDoubt {
		t.Errorf("after many good hand-overs, and one that was none, it is counted on after %d times", n)
	}
	// One that was never counted on loses nothing but its row.
	h = handOver{}
	wake(handOverSoon / 2)
	wake(2 * handOverSoon)
	if n := trusted(); n != handOverSure {
		t.Errorf("it is counted on after %d times", n)
	}
	// Parking without a wake before means nothing.
	h.parks(now)
	h.parks(now)
	if !wake(handOverSoon / 2) {
		t.Error("it is not counted on after it has parked for another reason")
	}
}
