// Parts is a program for package tests/golang: each part does something that the Go runtime needs the
// kernel for, and says what it has seen.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

var parts = map[string]func(args []string){
	"hello": hello, "exit": exit, "collect": collect, "goroutines": goroutines, "timers": timers,
	"nil": func([]string) { nilDereference() }, "overflow": func([]string) { fmt.Println(overflow(1)) },
	"deadlock": deadlock, "panic": func([]string) { panic(fmt.Sprint("at the ", "disco")) },
	"goroutine-panic": goroutinePanic, "divide": divide, "wild": wild, "recover": recovers, "fault": fault,
	"concurrent-map": concurrentMap, "spin": spin, "signals": signals, "quit": quit, "ignore": ignore,
	"files": files, "pipes": pipes, "deadline": deadline, "free": free, "procs": procs, "profile": profile, "exec": execute, "args": arguments,
	"threads": threads, "zone": zone, "raw": raw, "big": big,
}

func main() {
	if len(os.Args) < 2 || parts[os.Args[1]] == nil {
		names := make([]string, 0, len(parts))
		for n := range parts {
			names = append(names, n)
		}
		sort.Strings(names)
		fmt.Println(strings.Join(names, "\n"))
		os.Exit(3)
	}
	parts[os.Args[1]](os.Args[2:])
}

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func hello([]string) { fmt.Println("hello, world") }

func arguments(args []string) {
	fmt.Printf("%q\n", args)
	wd, err := os.Getwd()
	check(err)
	fmt.Println(filepath.IsAbs(wd), os.Getpid() > 0, os.Getenv("PINHOLE_TEST"))
}

func exit(args []string) {
	fmt.Print("going")
	n, err := strconv.Atoi(args[0])
	check(err)
	os.Exit(n)
}

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

func signals([]string) {
	c := make(chan os.Signal, 10)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP)
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGUSR2} {
		check(syscall.Kill(os.Getpid(), s))
		fmt.Println(<-c)
	}
	signal.Stop(c)
	signal.Ignore(syscall.SIGUSR1)
	check(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	fmt.Println(signal.Ignored(syscall.SIGUSR1), len(c))
	signal.Reset()
	check(syscall.Kill(os.Getpid(), syscall.SIGTERM))
	time.Sleep(10 * time.Second)
	fmt.Println("still here")
}

func quit([]string) {
	check(syscall.Kill(os.Getpid(), syscall.SIGQUIT))
	select {}
}

func ignore([]string) {
	_, w, err := os.Pipe()
	check(err)
	signal.Ignore(syscall.SIGPIPE)
	r2, w2, err := os.Pipe()
	check(err)
	r2.Close()
	_, err = w2.Write([]byte("x"))
	fmt.Println(errors.Is(err, syscall.EPIPE), w != nil)
}

func files([]string) {
	dir, err := os.MkdirTemp("", "parts")
	check(err)
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "a", "b")
	check(os.MkdirAll(filepath.Dir(name), 0o750))
	check(os.WriteFile(name, bytes.Repeat([]byte("0123456789"), 10_000), 0o640))
	check(os.Symlink("b", filepath.Join(dir, "a", "c")))
	check(os.Rename(name, name+"2"))
	check(os.Rename(name+"2", name))
	f, err := os.OpenFile(filepath.Join(dir, "a", "c"), os.O_RDWR|os.O_APPEND, 0)
	check(err)
	_, err = f.WriteString("end")
	check(err)
	b := make([]byte, 5)
	_, err = f.ReadAt(b, 99_998)
	check(err)
	check(f.Truncate(100))
	check(f.Sync())
	check(f.Close())
	check(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		check(err)
		i, err := d.Info()
		check(err)
		size := i.Size()
		if d.IsDir() {
			size = 0
		}
		fmt.Println(strings.TrimPrefix(path, dir), i.Mode(), size)
		return nil
	}))
	_, err = os.Stat(name + "x")
	fmt.Println(string(b), errors.Is(err, os.ErrNotExist))
}

func pipes([]string) {
	r, w, err := os.Pipe()
	check(err)
	go func() {
		for i := range 1000 {
			fmt.Fprintf(w, "%d\n", i)
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		w.Close()
	}()
	all, err := io.ReadAll(r)
	check(err)
	fmt.Println(len(all), bytes.Count(all, []byte("\n")))
}

func deadline([]string) {
	r, w, err := os.Pipe()
	check(err)
	check(r.SetReadDeadline(time.Now().Add(5 * time.Millisecond)))
	_, err = r.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	check(r.SetReadDeadline(time.Time{}))
	go func() { time.Sleep(time.Millisecond); r.Close() }()
	_, err = r.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrClosed), w.Close())
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

func procs([]string) { fmt.Println(runtime.GOMAXPROCS(0), runtime.NumCPU()) }

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

func execute([]string) {
	self, err := os.Executable()
	check(err)
	cmd := exec.Command(self, "hello")
	out, err := cmd.CombinedOutput()
	fmt.Printf("%q %v\n", out, err)
	err = exec.Command(self, "exit", "7").Run()
	fmt.Println(err)
	cmd = exec.Command(self, "echo-nothing")
	fmt.Println(cmd.Run())
	_, err = exec.LookPath("surely-not-there")
	fmt.Println(errors.Is(err, exec.ErrNotFound))
	cmd = exec.Command(self, "signals")
	out, err = cmd.Output()
	fmt.Printf("%q %v\n", out, err)
}

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

func zone([]string) {
	l, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		fmt.Println("no zone") // the image may have none
		return
	}
	fmt.Println(time.Unix(1700000000, 0).In(l))
}

// raw makes calls by number, as packages of others do.
func raw([]string) {
	pid, _, e := syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
	fmt.Println(int(pid) == os.Getpid(), e)
	_, _, e = syscall.Syscall(1000, 0, 0, 0)
	fmt.Println(e)
	_, _, e = syscall.Syscall(^uintptr(0), 0, 0, 0)
	fmt.Println(e)
	_, _, e = syscall.Syscall6(syscall.SYS_MMAP, 0, 0, 0, 0, 0, 0)
	fmt.Println(e)
	_, _, e = syscall.Syscall(syscall.SYS_WRITE, 1, 1, 5)
	fmt.Println(e)
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
