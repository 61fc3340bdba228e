package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// collect makes garbage of many sizes on several goroutines while maps live.
func collect([]string) {
	var wg sync.WaitGroup
	var total atomic.Int64
	for i := range 4 {
		wg.Go(func() {
			live := map[int][]byte{}
			for j := range 20_000 {
				b := make([]byte, 16<<(j%10))
				b[len(b)-1] = byte(i)
				live[j%500] = b
			}
			for _, b := range live {
				total.Add(int64(b[len(b)-1]))
			}
		})
	}
	wg.Wait()
	done := make(chan bool)
	func() {
		x := &[64]int{1}
		runtime.AddCleanup(x, func(int) { close(done) }, 0)
	}()
	for range 100 {
		runtime.GC()
		select {
		case <-done:
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			fmt.Println(total.Load(), s.NumGC > 0, s.HeapAlloc < 100<<20)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	fmt.Println("no cleanup")
}

// free has the test look at the memory in use before, in between and after.
func free([]string) {
	line := make([]byte, 1)
	say := func(what string) {
		fmt.Println(what)
		os.Stdin.Read(line)
	}
	debug.SetGCPercent(-1)
	say("began")
	b := make([]byte, 256<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	say("taken")
	runtime.KeepAlive(b)
	b = nil
	debug.FreeOSMemory()
	say("freed")
}

// big takes much address space and uses little of it.
func big([]string) {
	var all [][]byte
	for range 20 {
		all = append(all, make([]byte, 64<<20))
	}
	for i, b := range all {
		b[i<<20] = 1
	}
	fmt.Println(len(all))
}
