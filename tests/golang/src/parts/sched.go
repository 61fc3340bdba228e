package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func goroutines([]string) {
	c, sum := make(chan int), 0
	for i := range 10_000 {
		go func() { runtime.Gosched(); c <- i }()
	}
	for range 10_000 {
		sum += <-c
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10_000 {
				mu.Lock()
				sum++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	fmt.Println(sum)
}

func timers([]string) {
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() { time.Sleep(time.Duration(i%20) * time.Millisecond) })
	}
	wg.Wait()
	ticks := 0
	t := time.NewTicker(2 * time.Millisecond)
	for range t.C {
		if ticks++; ticks == 10 {
			break
		}
	}
	late := time.AfterFunc(time.Hour, func() { fmt.Println("an hour has passed") })
	d := time.Since(start)
	fmt.Println(late.Stop(), d >= 39*time.Millisecond, d < time.Minute)
}

// spin has goroutines that make no call stopped for a collection, and other goroutines run beside them.
func spin([]string) {
	var stop atomic.Bool
	var n atomic.Int64
	for range runtime.GOMAXPROCS(0) * 2 {
		go func() {
			x := 0
			for !stop.Load() {
				for i := range 1000 {
					x += i
				}
			}
			n.Add(int64(x&1) + 1)
		}()
	}
	for range 5 {
		time.Sleep(time.Millisecond)
		runtime.GC()
	}
	stop.Store(true)
	fmt.Println("collected")
}

func procs([]string) { fmt.Println(runtime.GOMAXPROCS(0), runtime.NumCPU()) }

func threads([]string) {
	var wg sync.WaitGroup
	ids := make(chan int, 50)
	all := make(chan bool)
	for range 50 {
		wg.Go(func() {
			runtime.LockOSThread()
			ids <- syscall.Gettid()
			<-all
		})
	}
	seen := map[int]bool{}
	for range 50 {
		seen[<-ids] = true
	}
	close(all)
	wg.Wait()
	fmt.Println(len(seen))
}
