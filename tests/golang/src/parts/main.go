// Parts is a program for package tests/golang: each part does something that the Go runtime needs the
// kernel for, and says what it has seen.
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"
)

var parts = map[string]func(args []string){
	"hello": hello, "exit": exit, "collect": collect, "goroutines": goroutines, "timers": timers,
	"nil": func([]string) { nilDereference() }, "overflow": func([]string) { fmt.Println(overflow(1)) },
	"deadlock": deadlock, "panic": func([]string) { panic(fmt.Sprint("at the ", "disco")) },
	"goroutine-panic": goroutinePanic, "divide": divide, "wild": wild, "recover": recovers, "fault": fault,
	"concurrent-map": concurrentMap, "spin": spin, "signals": signals, "quit": quit, "ignore": ignore,
	"files": files, "pipes": pipes, "deadline": deadline, "free": free, "procs": procs, "profile": profile, "exec": execute, "args": arguments,
	"threads": threads, "raw": raw, "big": big,
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
