package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

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
