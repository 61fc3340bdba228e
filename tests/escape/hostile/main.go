// Hostile is a kernel that an intruder has taken over: it starts as pinhole-kernel does, up
// to and including the lock, and then does what the program's name says:
//
//	calls     every host call number that the lock does not admit, from the kernel's own code
//	aliases   arguments beside those that the lock admits
//	int80     every i386 call number
//	ring      forged requests on the disk ring; the arguments are a seed and a count
//	tail      a request count that jumps
//	frames    forged frames on the control pipe; the argument is a seed
//	flood     reports without end
//	silence   nothing at all, deaf to what the supervisor says
//	gone      an end without a word
//	memory    as much memory as the host gives
//
// What it finds it reports in lines, as frames of kind Report.
package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"pinhole/blockdev"
	"pinhole/runtime/control"
	"pinhole/runtime/host"
	"pinhole/runtime/launch"
	"pinhole/runtime/seccomp"
)

func main() {
	if err := prepare(); err != nil {
		fmt.Fprintf(os.Stderr, "hostile: %v\n", err)
		os.Exit(125)
	}
	send(control.Frame{Kind: control.Running, Value: uint64(launch.AllLayers)})
	act, ok := acts[path.Base(conf.Program)]
	if !ok {
		report("no such act: %s", conf.Program)
		exit(2)
	}
	act(conf.Args[1:])
	exit(0)
}

var (
	conf    control.Config
	machine *host.Machine
	ring    []byte
	ram     []byte
)

func prepare() error {
	if err := conf.Receive(os.NewFile(seccomp.ControlIn, "control")); err != nil {
		return err
	}
	if _, err := launch.Enclose(launch.Enclosure{Started: launch.Layers(conf.Started)}); err != nil {
		return err
	}
	var err error
	if ring, err = syscall.Mmap(seccomp.Ring, 0, blockdev.RingBytes, 3, syscall.MAP_SHARED); err != nil {
		return err
	}
	if ram, err = syscall.Mmap(seccomp.RAM, 0, int(conf.RAMBytes), 3, syscall.MAP_SHARED|syscall.MAP_NORESERVE); err != nil {
		return err
	}
	syscall.Close(seccomp.Ring)
	machine, err = host.New(host.Config{
		ImageFD: seccomp.Image, ImageSize: conf.ImageBytes, RAMFD: seccomp.RAM, RAM: ram, CacheBytes: conf.CacheBytes,
		EntropyFD: seccomp.Entropy, CPUs: int(conf.CPUs), MemoryLimit: conf.Memory,
	})
	if err != nil {
		return err
	}
	if err := machine.Seal(); err != nil {
		return err
	}
	if err := launch.Seal(launch.LimitsFor(conf.Memory)); err != nil {
		return err
	}
	if err := seccomp.Load(seccomp.Trap); err != nil {
		return err
	}
	return seccomp.Prove(1)
}

func send(f control.Frame) { machine.HostWrite(seccomp.ControlOut, f.Append(nil)) }

func report(format string, args ...any) {
	send(control.Frame{Kind: control.Report, Text: fmt.Appendf(nil, format+"\n", args...)})
}

func exit(status int) {
	send(control.Frame{Kind: control.Exited, Value: uint64(status)})
	os.Exit(0)
}

var acts = map[string]func(args []string){
	"calls": calls, "aliases": aliases, "int80": int80, "ring": forgeRing, "tail": jumpTail, "frames": forgeFrames,
	"flood": flood, "silence": silence, "gone": func([]string) { os.Exit(0) }, "memory": memory,
}

// page is memory for calls to write to.
var page [1 << 16]byte

// cstring returns the address of a C string that stays.
func cstring(s string) uintptr {
	b := append([]byte(s), 0)
	keep = append(keep, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

var keep [][]byte

// try makes a call that the lock must refuse.
func try(what string, n uintptr, a [6]uintptr) {
	r, _, e := syscall.RawSyscall6(n, a[0], a[1], a[2], a[3], a[4], a[5])
	if e != syscall.ENOSYS {
		report("%s: call %d with %#x returned %d (%v)", what, n, a, int(r), e)
	}
}

// The machine's own handler answers these two to the kernel: the first early, the second by
// the processor's counter.
const (
	restartSyscall = 219
	clockGettime   = 228
)

func calls(args []string) {
	name := cstring(args[0])
	at := uintptr(unsafe.Pointer(&page[0]))
	const cwd = ^uintptr(99) // AT_FDCWD
	const all = ^uintptr(0)
	tried := 0
	for n := uintptr(0); n < 1024; n++ {
		switch n {
		case 0, 1, 9, 202:
			continue // see aliases
		case restartSyscall, clockGettime:
			continue
		case 335, 336:
			continue // see package seccomp: no filter sees these two on some hosts
		}
		for _, a := range [][6]uintptr{
			{},
			{name, 0o102, 0o644},
			{cwd, name, 0o102, 0o644},
			{name, name, name, name, name, name},
			{cwd, name, cwd, name},
			{1, 9, 1, at, 4096},
			{at, 4096, 7, 0x32, all},
			{9, 0, 0, 0},       // the memory's descriptor
			{8, at, 4096, 0},   // the image's
			{3, 0, 0, 4096, 2}, // fallocate, splice and the like
			{all, all, all, all, all, all},
		} {
			try("number", n, a)
			tried++
		}
		for _, high := range []uintptr{0x40000000, 0x80000000} {
			try("number", n|high, [6]uintptr{name, 0o102, 0o644})
			tried++
		}
	}
	report("tried %d", tried)
}

func aliases([]string) {
	at := uintptr(unsafe.Pointer(&page[0]))
	tried := 0
	check := func(what string, n uintptr, a ...uintptr) {
		var all [6]uintptr
		copy(all[:], a)
		try(what, n, all)
		tried++
	}
	const mark = seccomp.Mark
	readable := map[uintptr]bool{mark | 0: true, mark | 3: true, mark | 5: true, mark | 7: true}
	writable := map[uintptr]bool{mark | 1: true, mark | 2: true, mark | 4: true, mark | 6: true}
	for fd := uintptr(0); fd < 1100; fd++ {
		for _, high := range []uintptr{0, mark, 1 << 32, 1 << 63, mark | 1<<32, 0xffffffff00000000} {
			if !readable[fd|high] {
				check("read", 0, fd|high, at, 0)
			}
			if !writable[fd|high] {
				check("write", 1, fd|high, at, 0)
			}
		}
	}
	for op := uintptr(0); op < 1<<10; op++ {
		switch op &^ 0x100 {
		case 128, 129, 137, 138:
		default:
			check("futex", 202, at, mark|op, 0, 0, 0, 0)
		}
		check("futex", 202, at, op, 0, 0, 0, 0)
		check("futex", 202, at, op|1<<32, 0, 0, 0, 0)
	}
	admitted := map[[2]uintptr]bool{
		{mark | 8, 0x12}: true, {mark | 9, 0x11}: true,
		{mark | 0xffffffff, 0x22}: true, {mark | 0xffffffff, 0x32}: true,
		{mark | 0xffffffff, 0x4032}: true, {mark | 0xffffffff, 0x8032}: true,
	}
	for _, low := range []uintptr{0xffffffff, 0, 1, 3, 7, 8, 9, 10, 11} {
		for _, fd := range []uintptr{low, mark | low, low | 1<<32, mark | low | 1<<32} {
			for _, set := range []uintptr{0x01, 0x02, 0x03, 0x11, 0x12, 0x21, 0x22, 0x32, 0x4032, 0x8032, 0x8011, 0x8012} {
				for bit := range 64 {
					flags := set ^ 1<<bit
					if !admitted[[2]uintptr{fd, flags}] {
						check("mmap", 9, at, 4096, 3, flags, fd, 0)
					}
				}
				for prot := uintptr(8); prot < 1<<28; prot <<= 1 {
					check("mmap", 9, at, 4096, 3|prot, set, fd, 0)
				}
			}
		}
	}
	for status := uintptr(0); status < 512; status++ {
		if status > 255 {
			check("exit_group", 231, mark|status)
		}
		check("exit_group", 231, status)
		check("exit", 60, status)
	}
	report("tried %d", tried)
}

// enterInt80 makes a call by int 0x80.
func enterInt80(n, a, b, c uint32) uint32

func int80([]string) {
	for n := uint32(0); n < 512; n++ {
		if n == restartSyscall || n == clockGettime {
			continue
		}
		if r := int32(enterInt80(n, 0, 0, 0)); r != -int32(syscall.ENOSYS) {
			report("int 0x80, call %d returned %d", n, r)
		}
	}
	report("tried %d", 510)
}

func arg(args []string, i, otherwise int) int {
	if i < len(args) {
		if n, err := strconv.Atoi(args[i]); err == nil {
			return n
		}
	}
	return otherwise
}

const (
	submitTail = 0x0000 // of the ring, see package blockdev
	requests   = 0x1000
)

func bell() { machine.HostWrite(seccomp.DoorbellOut, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// forgeRing puts requests on the ring that a kernel in its right mind never would.
func forgeRing(args []string) {
	rng := rand.New(rand.NewPCG(uint64(arg(args, 0, 1)), 0))
	odd := []uint64{0, 1, 511, 512, 4096, 1 << 20, 1 << 31, 1<<32 - 512, 1 << 32, 1<<63 - 512, 1 << 63, ^uint64(0), ^uint64(511),
		uint64(conf.ImageBytes), uint64(conf.ImageBytes) - 512, uint64(conf.RAMBytes), uint64(conf.RAMBytes) - 512}
	pick := func() uint64 {
		if rng.IntN(4) == 0 {
			return rng.Uint64()
		}
		return odd[rng.IntN(len(odd))]
	}
	for i := range ram[:1<<20] {
		ram[i] = 0xee
	}
	tail := uint32(0)
	for range arg(args, 1, 4000) {
		r := ring[requests+tail%blockdev.RingEntries*blockdev.RequestSize:]
		off := pick()
		// Inside the image only what is refused for another reason: the image must stay whole.
		op := []uint32{0, 1, 2, 3, 4, 1 << 31}[rng.IntN(6)]
		length := uint32(pick())
		if op == 1 && off%512 == 0 && length%512 == 0 && length != 0 && length <= blockdev.MaxTransfer && off+uint64(length) <= uint64(conf.ImageBytes) {
			off |= 1
		}
		binary.LittleEndian.PutUint32(r[0:], op)
		binary.LittleEndian.PutUint32(r[4:], length)
		binary.LittleEndian.PutUint64(r[8:], rng.Uint64())
		binary.LittleEndian.PutUint64(r[16:], off)
		binary.LittleEndian.PutUint64(r[24:], pick())
		tail++
		binary.LittleEndian.PutUint32(ring[submitTail:], tail)
		bell()
	}
	report("forged")
}

// jumpTail claims requests that are not there, again and again.
func jumpTail(args []string) {
	rng := rand.New(rand.NewPCG(uint64(arg(args, 0, 1)), 0))
	for range 2000 {
		binary.LittleEndian.PutUint32(ring[submitTail:], rng.Uint32())
		bell()
	}
	report("jumped")
}

// forgeFrames writes rubbish that begins like frames.
func forgeFrames(args []string) {
	rng := rand.New(rand.NewPCG(uint64(arg(args, 0, 1)), 0))
	for range 500 {
		b := make([]byte, 16+rng.IntN(4080))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		binary.LittleEndian.PutUint32(b, rng.Uint32N(80))
		if rng.IntN(3) > 0 {
			binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-16))
		}
		machine.HostWrite(seccomp.ControlOut, b)
	}
}

func flood([]string) {
	line := strings.Repeat("\x1b]0;flood\a", 100)
	for range 20000 {
		report("%s", line)
	}
}

func silence([]string) {
	report("silent")
	var word uint32
	for {
		syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&word)), seccomp.Mark|128, 0, 0, 0, 0)
	}
}

// memory maps and touches anonymous memory, of which the lock does not count the bytes.
func memory([]string) {
	const step = 16 << 20
	got := 0
	for ; got < 64<<30; got += step {
		p, _, e := syscall.RawSyscall6(syscall.SYS_MMAP, 0, step, 3, 0x22, seccomp.Mark|0xffffffff, 0)
		if e != 0 {
			report("refused: %v", e)
			break
		}
		b := unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), step)
		for i := 0; i < step; i += 4096 {
			b[i] = 1
		}
	}
	report("megabytes %d", got>>20)
	var c [1]byte
	machine.HostRead(seccomp.Stdin, c[:]) // to be looked at
}
