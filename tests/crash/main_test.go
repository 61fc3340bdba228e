// Package crash cuts the power: it records what the file system writes while workloads run,
// builds the contents that a disk can have had at any moment, and has the file system, e2fsck and
// the host's ext4 recover from them.
//
// A recovered file system must be clean, have everything that was made durable, and of the rest
// whole operations in their order, as ext4 with data=ordered has it: see oracle_test.go for the rules.
//
// The ordinary run takes a sample by the day's seed. PINHOLE_LONG=1 looks at all of them. A failure
// says how it is made again: -seed, -workload and -state choose one state, and -dump writes its
// image to a file.
package crash

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seed         = flag.Uint64("seed", daySeed(), "seed of everything that is random")
	onlyWorkload = flag.String("workload", "", "run this workload only")
	onlyState    = flag.String("state", "", "look at this crash state of the workload only")
	dump         = flag.String("dump", "", "with -state: write the state's image to this file")
	ownScript    = flag.String("script", "", "the workload of TestScript: operations as in script_test.go")
	ownDisk      = flag.String("disk", "1k", "the disk of TestScript")
	keepGoing    = flag.Bool("keep-going", false, "do not give up after a dozen failures")
)

// TestScript runs the workload that -script gives: to shorten a failure, or to try something.
func TestScript(t *testing.T) {
	if *ownScript == "" {
		t.Skip("does what -script says")
	}
	(&workload{name: "script", disk: *ownDisk, threads: [][]op{parseScript(*ownScript)}, all: 8}).run(t)
}

func daySeed() uint64 {
	y, m, d := time.Now().UTC().Date()
	return uint64(y*10000 + int(m)*100 + d)
}

// long tells whether everything is to be looked at.
var long = os.Getenv("PINHOLE_LONG") != ""

func parallel() int { return min(runtime.GOMAXPROCS(0), 4) }

// count is what was done, for the summary.
var count struct {
	workloads, states, distinct, fsck, host, nested, failures atomic.Int64
}

// counted has a test say in the end what it has looked at, and returns what it has so far.
func counted(t *testing.T) (sofar func() string) {
	workloads, states, distinct := count.workloads.Load(), count.states.Load(), count.distinct.Load()
	sofar = func() string {
		return fmt.Sprintf("%d workloads, %d crash states, %d of them distinct",
			count.workloads.Load()-workloads, count.states.Load()-states, count.distinct.Load()-distinct)
	}
	t.Cleanup(func() { t.Log(sofar()) })
	return sofar
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(recorderVar); dir != "" {
		if err := recorderMain(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	status := m.Run()
	fmt.Printf("crash: seed %d: %d workloads, %d crash states, %d of them distinct; %d looked at by e2fsck before recovery, %d by the host's ext4, %d crashes during recovery; %d failures\n",
		*seed, count.workloads.Load(), count.states.Load(), count.distinct.Load(),
		count.fsck.Load(), count.host.Load(), count.nested.Load(), count.failures.Load())
	os.Exit(status)
}
