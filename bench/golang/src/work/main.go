// Work has the cases of the benchmarks of Go programs. Without an argument it lists them; with one it runs
// that case and prints its name and what an operation took, in nanoseconds of its own clock.
package main

import (
	"fmt"
	"os"
	"time"
)

// cases are functions that do their work once and return how many operations it was.
var cases = []struct {
	name string
	run  func() (operations int, err error)
}{
	{"pipeline", pipeline},
	{"pipe_round_trip", roundTrip},
	{"binary_trees", binaryTrees},
	{"live_heap", liveHeap},
}

func main() {
	for _, c := range cases {
		if len(os.Args) < 2 {
			fmt.Println(c.name)
			continue
		}
		if os.Args[1] != c.name {
			continue
		}
		start := time.Now()
		n, err := c.run()
		took := time.Since(start)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(c.name, float64(took)/float64(n))
		return
	}
	if len(os.Args) > 1 {
		fmt.Fprintf(os.Stderr, "no case %s\n", os.Args[1])
		os.Exit(2)
	}
}
