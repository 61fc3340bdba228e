// Package sandbox is the life of the sandbox process: it prepares, locks itself, and only then
// looks at anything an attacker may have made: the image, the program, the guest.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"pinhole/blockdev"
	"pinhole/emu"
	"pinhole/fs/ext4"
	"pinhole/runtime/control"
	"pinhole/runtime/host"
	"pinhole/runtime/launch"
	"pinhole/runtime/seccomp"
)

// Exit statuses of the process when it cannot tell the supervisor; see package supervisor.
const (
	exitBug           = 70
	exitNotStarted    = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

var errSupervisorGone = errors.New("the supervisor has ended")

// Main runs the sandbox. It does not return.
func Main() {
	b := &boot{}
	if err := b.prepare(); err != nil {
		// There is nobody to tell but the operator, and nothing of the guest's has been read.
		fmt.Fprintf(os.Stderr, "pinhole: %v\n", err)
		os.Exit(exitNotStarted)
	}
	b.run()
}

// boot is what the steps of the start hand on.
type boot struct {
	conf   control.Config
	layers launch.Layers
	image  []byte // mapped shared and read-only, or private if it is ephemeral
	ram    []byte // mapped shared
	shared []byte // memory of the ring, mapped shared
	ring   *blockdev.RingDevice
	disk   blockdev.Mapped // the ring, or what stands in for it
	m      *host.Machine
	tell   *teller
	fs     *ext4.FS
	k      *emu.Kernel
	size   atomic.Uint64 // the terminal: rows<<32 | columns
}

// prepare does everything that needs the host's whole interface, up to the lock and its proof.
func (b *boot) prepare() error {
	if err := b.conf.Receive(controlPipe{}); err != nil {
		return err
	}
	c := &b.conf
	var err error
	b.layers, err = launch.Enclose(launch.Enclosure{
		Started: launch.Layers(c.Started),
		Require: launch.Layers(c.Require),
	})
	if err != nil {
		return err
	}
	if err := b.mapMemory(); err != nil {
		return err
	}
	b.m, err = host.New(host.Config{
		ImageFD:     seccomp.Image,
		ImageSize:   c.ImageBytes,
		RAMFD:       seccomp.RAM,
		RAM:         b.ram,
		CacheBytes:  c.CacheBytes,
		EntropyFD:   seccomp.Entropy,
		CPUs:        int(c.CPUs),
		MemoryLimit: c.Memory,
		HostThreads: int(c.HostThreads),
		DiscardRAM:  b.discardRAM,
	})
	if err != nil {
		return err
	}
	b.tell = &teller{host: b.m}
	if err := b.newDisk(); err != nil {
		return err
	}
	return b.lock()
}

// mapMemory maps what the process shares with the supervisor.
func (b *boot) mapMemory() (err error) {
	c := &b.conf
	const rw = syscall.PROT_READ | syscall.PROT_WRITE
	mapIt := func(what string, fd int, n int64, prot, flags int) []byte {
		if err != nil {
			return nil
		}
		m, e := syscall.Mmap(fd, 0, int(n), prot, flags|syscall.MAP_NORESERVE)
		if e != nil {
			err = fmt.Errorf("mapping %s (%d bytes): %w", what, n, e)
		}
		return m
	}
	if c.Ephemeral {
		b.image = mapIt("the image "+c.Image, seccomp.Image, c.ImageBytes, rw, syscall.MAP_PRIVATE)
	} else {
		b.image = mapIt("the image "+c.Image, seccomp.Image, c.ImageBytes, syscall.PROT_READ, syscall.MAP_SHARED)
	}
	b.ram = mapIt("memory", seccomp.RAM, c.RAMBytes, rw, syscall.MAP_SHARED)
	if err == nil {
		b.preferHugePages()
	}
	b.shared = mapIt("the disk ring", seccomp.Ring, blockdev.RingBytes, rw, syscall.MAP_SHARED)
	if err == nil {
		err = syscall.Close(seccomp.Ring)
	}
	return err
}

// hugePage is the size of the pages that preferHugePages asks for.
const hugePage = 2 << 20

// preferHugePages has the host use large pages for the cache, where it does so on request
// (/sys/kernel/mm/transparent_hugepage/shmem_enabled is "advise"): one fault brings 2 MiB in, and
// copies miss the translation cache less. The first 2 MiB go on in small pages, so that a program that
// hardly writes costs no more than it needs.
func (b *boot) preferHugePages() {
	lo, hi := uintptr(hugePage), uintptr(b.conf.CacheBytes)&^(hugePage-1)
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b.ram)))
	if at%hugePage != 0 || lo >= hi {
		return
	}
	syscall.Madvise(b.ram[lo:hi:hi], madvHugePage) // a host that refuses has small ones
}

const madvHugePage = 14 // MADV_HUGEPAGE

// limits are the process's resource limits.
func (b *boot) limits() launch.Limits {
	c := &b.conf
	l := launch.LimitsFor(c.Memory)
	if c.Ephemeral {
		l.Data += uint64(c.ImageBytes) // mapped private and writable
	}
	// What is mapped already, and room for the kernel's own heap with its reserves and tables.
	const kernel = 16 << 30
	lo, hi := b.m.Area()
	low, lowEnd := b.m.LowArea()
	l.AddressSpace = uint64(hi-lo) + uint64(lowEnd-low) + uint64(c.ImageBytes+c.RAMBytes) + kernel
	return l
}

// lock takes everything from the process that it does not need any more, and shows that it is gone.
func (b *boot) lock() error {
	if err := b.m.Seal(); err != nil {
		return err
	}
	if err := launch.Seal(b.limits()); err != nil {
		return err
	}
	b.layers |= launch.ResourceLimits
	if err := seccomp.Load(seccomp.Trap); err != nil {
		return err
	}
	return seccomp.Prove(1)
}
