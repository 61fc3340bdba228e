package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

//go:noinline
func load(p *int) int { return *p }

func nilDereference() { fmt.Println(load(nil)) }

//go:noinline
func overflow(n int) int {
	var b [1024]byte
	b[n%1024] = byte(n)
	//lint:ignore SA5007 the stack is to overflow
	return overflow(n+1) + int(b[(n+1)%1024])
}

func deadlock([]string) {
	var mu sync.Mutex
	mu.Lock()
	mu.Lock()
}

func goroutinePanic([]string) {
	go func() { panic(errors.New("in a goroutine")) }()
	select {}
}

func divide(args []string) { fmt.Println(1 / len(args)) }

//go:nocheckptr
func wild([]string) {
	a := uintptr(0x1234_5678_9000)
	fmt.Println(*(*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&a))))
}

func recovers([]string) {
	for i, f := range []func(){
		func() { nilDereference() },
		func() { divide(nil) },
		func() { var a []int; a[len(os.Args)] = 1 },
		//lint:ignore SA5000 it is to panic
		func() { var m map[string]int; m["x"] = 1 },
	} {
		func() {
			defer func() { fmt.Println(i, recover()) }()
			f()
		}()
	}
}

// fault has a fault at an address that is not nil's turned into a panic.
func fault([]string) {
	b, err := syscall.Mmap(-1, 0, 8192, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	check(err)
	b[0] = 1
	check(syscall.Mprotect(b, syscall.PROT_READ))
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		err, ok := recover().(interface{ Addr() uintptr })
		fmt.Println(ok && err.Addr() == uintptr(unsafe.Pointer(&b[5])), b[0])
	}()
	b[5] = 2
	fmt.Println("written")
}

func concurrentMap([]string) {
	m := map[int]int{}
	for range 4 {
		go func() {
			for i := 0; ; i++ {
				m[i%8] = i
			}
		}()
	}
	time.Sleep(10 * time.Second)
	fmt.Println("nobody has noticed")
}

func quit([]string) {
	check(syscall.Kill(os.Getpid(), syscall.SIGQUIT))
	select {}
}
