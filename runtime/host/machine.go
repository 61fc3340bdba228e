package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"pinhole/emu/guest"
)

// Config says what the machine stands on. All of it exists before the lock.
type Config struct {
	ImageFD   int   // opened read-only; only used if ImageSize is not 0
	ImageSize int64 // bytes

	RAMFD      int    // guest RAM memfd, sealed against resizing
	RAM        []byte // the whole of it, mapped shared
	CacheBytes int64  // that belong to the buffer cache, from the beginning

	EntropyFD int // /dev/urandom

	CPUs        int    // processors to use at once; 0: as many as the host allows
	MemoryLimit int64  // bytes that guests may have
	AreaBytes   uint64 // address space of guests, a multiple of 2 MiB; 0: 64 TiB

	// HostThreads is the number of host threads; 0: enough for two guests on each processor, eight
	// at least. There can never be more.
	HostThreads int
	// BlockingCalls is the largest number of host calls that block at once, besides the guests:
	// HostRead, HostWrite, and what other parts read from pipes and doorbells; 0: 6.
	BlockingCalls int

	// DiscardRAM, if set, makes a range of RAM zero and gives its pages back to the host; false:
	// it cannot.
	DiscardRAM func(off, n int64) bool
}

// Machine implements emu.Machine. A process has one.
type Machine struct {
	contexts contexts

	imageFD, ramFD, entropyFD int
	imageSize                 int64
	ram                       []byte
	cacheBytes                int64
	discard                   func(off, n int64) bool

	area, low   span
	entries     entries
	vdso        uint64
	clocks      clocks
	cpus        int
	maxGuests   int
	memoryLimit int64
}

// spare are the host threads that the runtime may need besides those in guests and in blocking
// calls, and those that run Go: one that sleeps for the timers, and some on their way from one
// state to another.
const spare = 5

var made atomic.Bool

// New prepares this process: it takes the address space for guests, makes the host threads and
// their timers, and puts the signal handlers in place. It needs host calls that the lock forbids.
// What it has done is not undone if it fails.
func New(cfg Config) (*Machine, error) {
	if made.Swap(true) {
		return nil, errors.New("host: a process has one machine")
	}
	m := &Machine{
		imageFD: cfg.ImageFD, imageSize: cfg.ImageSize,
		ramFD: cfg.RAMFD, ram: cfg.RAM, cacheBytes: cfg.CacheBytes,
		entropyFD: cfg.EntropyFD, discard: cfg.DiscardRAM, memoryLimit: cfg.MemoryLimit,
		vdso: uint64(auxiliary(atSysinfoEHdr)),
	}
	addresses(&m.entries)
	if !m.entries.ordered() {
		return nil, fmt.Errorf("host: the linker did not keep the order of the switch routines: %#x", m.entries)
	}
	fixups = guest.Fixups()
	var err error
	if m.contexts.xsize, err = probeCPU(auxiliary(atHWCap2)); err != nil {
		return nil, err
	}
	if m.clocks, err = measureClocks(); err != nil {
		return nil, err
	}

	size := cfg.AreaBytes
	if size == 0 {
		size = areaBytes
	}
	// What lies where the host or Go's runtime has put it at random may leave no gap as large.
	for m.area, err = reserve(size); err != nil && size > leastArea; m.area, err = reserve(size) {
		size /= 2
	}
	if err != nil {
		return nil, fmt.Errorf("host: cannot reserve %d GiB of address space for guests: %w", size>>30, err)
	}
	m.low = reserveLow()
	guest.SetArea(m.area.lo, m.area.hi, m.low.lo, m.low.hi)

	if startMonitor != nil {
		startMonitor()
	}
	m.cpus = cfg.CPUs
	if m.cpus <= 0 {
		m.cpus = runtime.NumCPU()
	}
	runtime.GOMAXPROCS(m.cpus)
	var n int
	if n, m.maxGuests, err = cfg.pool(m.cpus); err != nil {
		return nil, err
	}
	if err := installHandlers(m.entries.handler); err != nil {
		return nil, err
	}
	if _, err := spawn(n); err != nil {
		return nil, err
	}
	return m, nil
}

// pool returns how many host threads to make, and how many of them may be in guests.
func (cfg *Config) pool(cpus int) (n, guests int, err error) {
	blocking := cfg.BlockingCalls
	if blocking == 0 {
		blocking = 6
	}
	need := cpus + blocking + spare
	if n = cfg.HostThreads; n == 0 {
		n = need + max(2*cpus, 8)
	}
	if n <= need {
		return 0, 0, fmt.Errorf("host: %d host threads are too few: with %d processors and %d blocking calls at least %d are needed", n, cpus, blocking, need+1)
	}
	return n, n - need, nil
}

// Seal is the last step before the lock is loaded: afterwards the process needs no call but the
// lock's. From here on the runtime makes no thread, and signals that mean nothing to the
// machine are ignored.
func (m *Machine) Seal() error {
	if err := awaitApart(); err != nil {
		return err
	}
	left := strangers()
	if left > 0 { // made since New
		var err error
		if left, err = spawn(len(threads.all)); err != nil {
			return err
		}
	}
	if left == 0 {
		checkThreads = 0
	}
	if err := m.clocks.calibrate(); err != nil {
		return err
	}
	if err := sealSignals(); err != nil {
		return err
	}
	atomic.StoreUint32(&runtimeLocked, 1)
	return nil
}

// NewContext implements emu.Machine.
func (m *Machine) NewContext() *guest.Context { return m.contexts.get() }

// FreeContext implements emu.Machine.
func (m *Machine) FreeContext(c *guest.Context) { m.contexts.put(c) }

// MaxGuests implements emu.Machine.
func (m *Machine) MaxGuests() int { return m.maxGuests }

// GateAddr implements emu.Machine.
func (m *Machine) GateAddr() uint64 { return uint64(m.entries.gate) }

// LinuxGateAddr implements emu.Machine.
func (m *Machine) LinuxGateAddr() uint64 { return uint64(m.entries.linuxGate) }

// VDSO implements emu.Machine.
func (m *Machine) VDSO() uint64 { return m.vdso }

// VDSOSize implements emu.Machine: up to the end of the vDSO's last segment (elf(5)).
func (m *Machine) VDSOSize() uint64 {
	if m.vdso == 0 {
		return 0
	}
	at := func(off, size uint64) uint64 {
		var b [8]byte
		copy(b[:size], unsafe.Slice((*byte)(pointer(m.vdso+off)), size))
		return binary.LittleEndian.Uint64(b[:])
	}
	const phoff, phentsize, phnum = 0x20, 0x36, 0x38 // in the file header
	const ptLoad, vaddr, memsz = 1, 0x10, 0x28       // in a program header
	var end uint64
	for i := range at(phnum, 2) {
		if ph := at(phoff, 8) + i*at(phentsize, 2); at(ph, 4) == ptLoad {
			end = max(end, at(ph+vaddr, 8)+at(ph+memsz, 8))
		}
	}
	return (end + 4095) &^ 4095
}

// CPUs implements emu.Machine.
func (m *Machine) CPUs() int { return m.cpus }

// MemoryLimit implements emu.Machine.
func (m *Machine) MemoryLimit() int64 { return m.memoryLimit }
