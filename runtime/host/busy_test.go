package host

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
	"weak"

	"pinhole/emu/guest"
)

// TestBusy keeps everything in the Go runtime at work that makes host calls elsewhere: allocation and
// collection, memory given back, growing stacks, timers, thousands of goroutines, processors that come
// and go, threads of one's own, faults and panics, profiles; and guests besides. Behind the lock none of
// it may make a call that the lock does not admit: one that traps is counted, in the other mode it kills.
func TestBusy(t *testing.T) {
	length := 2 * time.Second
	switch {
	case os.Getenv(envLong) != "" && mode == "kill":
		length = 10 * time.Minute
	case os.Getenv(envLong) != "":
		length = 30 * time.Second
	case testing.Short():
		length = time.Second / 2
	}
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(10))
	runtime.SetBlockProfileRate(10000)
	defer runtime.SetBlockProfileRate(0)

	works := []struct {
		name string
		do   func(t *testing.T, rng *rand.Rand)
	}{
		{"heap", busyHeap}, {"maps", busyMaps}, {"give back", busyGiveBack}, {"ring of goroutines", busyRing},
		{"stacks", busyStacks}, {"timers", busyTimers}, {"sleepers", busySleepers}, {"faults", busyFaults},
		{"last words", busyCleanups}, {"processors", busyProcs}, {"threads", busyThreads}, {"profiles", busyProfiles},
		{"locks", busyLocks}, {"selects", busySelects},
	}
	var wg sync.WaitGroup
	end := time.Now().Add(length)
	rounds := make([]atomic.Int64, len(works)+1)
	work := func(i int, do func()) {
		wg.Go(func() {
			for first := true; (first || time.Now().Before(end)) && !t.Failed(); first = false {
				do()
				rounds[i].Add(1)
			}
		})
	}
	for i, w := range works {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		work(i, func() { w.do(t, rng) })
	}
	if guests.symbols != nil {
		for i := range 4 {
			c := newGuest(t, "mix", 100)
			work(len(works), func() {
				begin(c, "mix", 100)
				if i%2 == 0 {
					drive(c)
				} else {
					driveDetached(c)
				}
				if c.Why != guest.Call || c.RAX != callExit || c.RDI != 0 {
					t.Errorf("guest: %s", describe(c))
				}
			})
		}
	}
	wg.Wait()
	var b strings.Builder
	for i, w := range works {
		fmt.Fprintf(&b, ", %s %d", w.name, rounds[i].Load())
	}
	t.Logf("rounds in %v: guests %d%s", length, rounds[len(works)].Load(), b.String())
}

// busyHeap allocates objects of all sizes, up to some that the runtime asks the host for one by one.
func busyHeap(t *testing.T, rng *rand.Rand) {
	type node struct{ left, right *node }
	var tree func(depth int) *node
	tree = func(depth int) *node {
		if depth == 0 {
			return nil
		}
		return &node{tree(depth - 1), tree(depth - 1)}
	}
	kept := []any{tree(14)}
	for range 8 {
		b := make([]byte, 1<<rng.IntN(25))
		b[len(b)-1] = 1
		kept = append(kept, b)
	}
	runtime.KeepAlive(kept)
}

func busyMaps(t *testing.T, rng *rand.Rand) {
	m, s := map[uint64]string{}, map[string][]uint64{}
	for range 20000 {
		k := rng.Uint64N(1 << 16)
		m[k] = fmt.Sprint(k)
		s[m[k]] = append(s[m[k]], k)
	}
	for k, v := range m {
		if !slices.Contains(s[v], k) {
			t.Errorf("%d is not under %q", k, v)
		}
		delete(m, k)
	}
}

func busyGiveBack(t *testing.T, rng *rand.Rand) {
	switch rng.IntN(4) {
	case 0:
		runtime.GC()
	case 1:
		debug.FreeOSMemory()
	case 2:
		debug.SetGCPercent(5 + rng.IntN(200))
	case 3:
		old := debug.SetMemoryLimit(16 << 20) // less than there is: the scavenger has work
		time.Sleep(time.Duration(rng.IntN(int(20 * time.Millisecond))))
		debug.SetMemoryLimit(old)
	}
}

// busyRing hands a number round thousands of goroutines, which then end.
func busyRing(t *testing.T, rng *rand.Rand) {
	const n, turns = 3000, 3
	first := make(chan int)
	last := first
	for range n {
		in, out := last, make(chan int, rng.IntN(2))
		go func() {
			for v := range in {
				out <- v + 1
			}
			close(out)
		}()
		last = out
	}
	for range turns {
		first <- 0
		if v := <-last; v != n {
			t.Errorf("%d goroutines counted to %d", n, v)
		}
	}
	close(first)
	if _, ok := <-last; ok {
		t.Error("the last goroutine has not ended")
	}
}

func busyStacks(t *testing.T, rng *rand.Rand) {
	var wg sync.WaitGroup
	for range 20 {
		n := 1 << rng.IntN(12)
		wg.Go(func() {
			if got := down(n); got != n {
				t.Errorf("%d calls deep, %d came back", n, got)
			}
		})
	}
	wg.Wait()
}

// down calls itself n deep, with a frame that makes the stack grow often.
func down(n int) int {
	var b [300]byte
	b[n%len(b)] = 1
	if n == 0 {
		return 0
	}
	return down(n-1) + int(b[n%len(b)])
}

func busyTimers(t *testing.T, rng *rand.Rand) {
	const n = 1000
	var fired atomic.Int64
	all := make([]*time.Timer, n)
	for i := range all {
		all[i] = time.AfterFunc(time.Duration(rng.IntN(int(3*time.Millisecond))), func() { fired.Add(1) })
	}
	stopped := int64(0)
	for _, tm := range all {
		switch rng.IntN(3) {
		case 0:
			if tm.Stop() {
				stopped++
			}
		case 1:
			if !tm.Reset(time.Millisecond) {
				fired.Add(-1) // it fires twice, or has
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Millisecond)
	defer cancel()
	tick := time.NewTicker(300 * time.Microsecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	for end := time.Now().Add(time.Minute); fired.Load() != n-stopped; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Errorf("%d of %d timers have fired, %d were stopped", fired.Load(), n, stopped)
			return
		}
	}
}

func busySleepers(t *testing.T, rng *rand.Rand) {
	var wg sync.WaitGroup
	for range 2000 {
		d := time.Duration(rng.IntN(int(2 * time.Millisecond)))
		wg.Go(func() { time.Sleep(d); runtime.Gosched() })
	}
	wg.Wait()
}

var (
	noNumber int
	noMap    map[int]int
)

// busyFaults makes what a kernel's bug would make: panics by the processor's exceptions and by checks.
func busyFaults(t *testing.T, rng *rand.Rand) {
	acts := []func(){
		func() { *(*int)(nil) = 1 },
		func() { _ = 1 / noNumber },
		func() { _ = make([]int, 3)[noNumber+5] },
		func() { _ = any(1).(string) },
		func() { panic(fmt.Errorf("%d", rng.IntN(10))) },
		func() { // an address that is nowhere
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			*(*byte)(unsafe.Add(unsafe.Pointer(nil), 8<<12)) = 1
		},
		func() { noMap[1] = 1 },
		func() { close((chan int)(nil)) },
	}
	for range 20 {
		act, depth := acts[rng.IntN(len(acts))], rng.IntN(100)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			deep(depth)
			act()
		}()
	}
	ended := make(chan bool)
	go func() {
		defer close(ended)
		runtime.Goexit()
	}()
	<-ended
}

func busyCleanups(t *testing.T, rng *rand.Rand) {
	var left atomic.Int64
	const n = 100
	left.Store(2 * n)
	var refs []weak.Pointer[[64]byte]
	for range n {
		a, b := new([64]byte), new([64]byte)
		runtime.SetFinalizer(a, func(*[64]byte) { left.Add(-1) })
		runtime.AddCleanup(b, func(int) { left.Add(-1) }, 0)
		refs = append(refs, weak.Make(b))
	}
	for end := time.Now().Add(time.Minute); left.Load() > 0; {
		runtime.GC()
		if time.Now().After(end) {
			t.Errorf("%d objects stay", left.Load())
			return
		}
	}
	for _, r := range refs {
		if r.Value() != nil {
			t.Error("an object is back")
		}
	}
}

func busyProcs(t *testing.T, rng *rand.Rand) {
	time.Sleep(time.Duration(rng.IntN(int(10 * time.Millisecond))))
	runtime.GOMAXPROCS(1 + rng.IntN(mach.CPUs()))
	time.Sleep(time.Duration(rng.IntN(int(10 * time.Millisecond))))
	runtime.GOMAXPROCS(mach.CPUs())
}

// busyThreads hands a number between two goroutines with host threads of their own: no more, since a
// machine has few to spare.
func busyThreads(t *testing.T, rng *rand.Rand) {
	there, back := make(chan int), make(chan int)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for v := range there {
			back <- v + 1
		}
		close(back)
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i := range 100 {
		there <- i
		if v := <-back; v != i+1 {
			t.Errorf("%d came back as %d", i, v)
		}
	}
	close(there)
	<-back
}

func busyProfiles(t *testing.T, rng *rand.Rand) {
	// Not by package pprof, which adds what files and calls of the host's tell.
	switch rng.IntN(5) {
	case 0:
		runtime.GoroutineProfile(make([]runtime.StackRecord, 10000))
	case 1:
		runtime.MemProfile(make([]runtime.MemProfileRecord, 10000), true)
	case 2:
		runtime.BlockProfile(make([]runtime.BlockProfileRecord, 10000))
	case 3:
		runtime.MutexProfile(make([]runtime.BlockProfileRecord, 10000))
	case 4:
		runtime.ThreadCreateProfile(make([]runtime.StackRecord, 100))
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	all := metrics.All()
	samples := make([]metrics.Sample, len(all))
	for i, d := range all {
		samples[i].Name = d.Name
	}
	metrics.Read(samples)
	runtime.Stack(make([]byte, 64<<10), true)
	time.Sleep(5 * time.Millisecond) // each of these stops the world
}

func busyLocks(t *testing.T, rng *rand.Rand) {
	var (
		mu   sync.RWMutex
		cond = sync.NewCond(&mu)
		n    int
		wg   sync.WaitGroup
		pool sync.Pool
	)
	const many = 200
	for range many {
		wg.Go(func() {
			for range 10 {
				mu.RLock()
				_ = n
				mu.RUnlock()
				b, _ := pool.Get().(*[512]byte)
				if b == nil {
					b = new([512]byte)
				}
				mu.Lock()
				n++
				cond.Broadcast()
				mu.Unlock()
				pool.Put(b)
			}
		})
	}
	mu.Lock()
	for n < 10*many {
		cond.Wait()
	}
	mu.Unlock()
	wg.Wait()
}

func busySelects(t *testing.T, rng *rand.Rand) {
	a, b, stop := make(chan int), make(chan int, 4), make(chan struct{})
	var sent, got atomic.Int64
	var senders, receivers sync.WaitGroup
	for range 50 {
		senders.Go(func() {
			for range 20 {
				select {
				case a <- 1:
				case b <- 1:
				}
				sent.Add(1)
			}
		})
		receivers.Go(func() {
			for {
				select {
				case <-a:
				case <-b:
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					continue
				}
				got.Add(1)
			}
		})
	}
	senders.Wait()
	for end := time.Now().Add(time.Minute); got.Load() < sent.Load() && time.Now().Before(end); {
		runtime.Gosched()
	}
	close(stop)
	receivers.Wait()
	if sent.Load() != got.Load() {
		t.Errorf("%d sent, %d received", sent.Load(), got.Load())
	}
}
