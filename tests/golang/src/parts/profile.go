package main

import (
	"fmt"
	"os"
	"runtime/pprof"
	"time"
)

func profile(args []string) {
	f, err := os.Create(args[0])
	check(err)
	check(pprof.StartCPUProfile(f))
	x := 0
	for start, n := time.Now(), 0; n < 10_000 || time.Since(start) < 500*time.Millisecond; n++ {
		x += burn()
	}
	pprof.StopCPUProfile()
	check(f.Close())
	i, err := os.Stat(args[0])
	check(err)
	fmt.Println(i.Size() > 500, x != 0)
}

//go:noinline
func burn() int {
	x := 1
	for i := range 100_000 {
		x = x*31 + i
	}
	return x | 1
}
