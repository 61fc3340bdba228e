package faultdev

import "fmt"

// Op is what a device is asked to do.
type Op int

// The operations of a device.
const (
	Read Op = iota
	Write
	Flush
)

func (o Op) String() string { return [...]string{"read", "write", "flush"}[o] }

// Event is one write or flush, in the order in which they completed.
type Event struct {
	Op   Op
	Off  int64
	Data []byte // nil for a flush
	// Call numbers the call of WriteV that a write was a part of, from 0 on.
	Call int
	// Covers, of a flush: the events before this index are on stable storage once it is
	// completed. Those between may be or not: they came, or were not completed, while it went on.
	Covers int
}

func (e Event) String() string {
	if e.Op == Flush {
		return fmt.Sprintf("flush of the %d before", e.Covers)
	}
	return fmt.Sprintf("write %d of %d bytes at %d", e.Call, len(e.Data), e.Off)
}

// stableAt returns how many of the events are on stable storage after the first n.
func stableAt(events []Event, n int) int {
	stable := 0
	for _, e := range events[:n] {
		if e.Op == Flush {
			stable = max(stable, e.Covers)
		}
	}
	return stable
}

// record is what a device remembers. Its owner's lock guards it.
type record struct {
	events []Event
	calls  int
}

// beginCall notes that WriteV is called, and returns the call's number.
func (r *record) beginCall() int {
	r.calls++
	return r.calls - 1
}
