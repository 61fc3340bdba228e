// Assembly is a program for package tests/golang that calls the kernel by assembly of its own, and
// by that of a module.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// call makes call nr; with its result it returns whether the registers that have to be kept were.
func call(nr, a, b, c uintptr) (ret uintptr, kept bool)

// spelt is a call without arguments whose instruction is spelt in bytes.
func spelt(nr uintptr) uintptr

// framed makes the same call in a function with a frame, several times.
func framed(nr uintptr, n int) uintptr

func main() {
	pid := uintptr(os.Getpid())
	got, kept := call(unix.SYS_GETPID, 1, 2, 3)
	fmt.Println(got == pid, kept, spelt(unix.SYS_GETPID) == pid, framed(unix.SYS_GETPID, 5) == 5*pid)
	got, kept = call(unix.SYS_WRITE, 1, 0, 5)
	fmt.Println(int(got), kept)
	p, _ := unix.SyscallNoError(unix.SYS_GETPPID, 0, 0, 0)
	var u unix.Utsname
	fmt.Println(int(p) == os.Getppid(), unix.Getpid() == int(pid), unix.Uname(&u), unix.ByteSliceToString(u.Sysname[:]))
	var tv unix.Timeval
	fmt.Println(unix.Gettimeofday(&tv), tv.Sec > 1e9)
	_, _, e := unix.Syscall6(999, 1, 2, 3, 4, 5, 6)
	fmt.Println(e)
}
