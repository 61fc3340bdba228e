package launch

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// bindProcessors lets the calling host thread, and what it starts, run on n processors only, of those that it may
// run on (sched_setaffinity(2)). n is 0, or more than there are: on all of them. Which ones differs from supervisor to
// supervisor, so that sandboxes of one processor do not all have the same.
func bindProcessors(n int) error {
	if n <= 0 {
		return nil
	}
	var all, some unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("see on which processors to run: %w", err)
	}
	if n >= all.Count() {
		return nil
	}
	var processors []int
	for i := 0; len(processors) < all.Count(); i++ {
		if all.IsSet(i) {
			processors = append(processors, i)
		}
	}
	for i := range n {
		some.Set(processors[(os.Getpid()+i)%len(processors)])
	}
	if err := unix.SchedSetaffinity(0, &some); err != nil {
		return fmt.Errorf("run on %d processors only: %w", n, err)
	}
	return nil
}
