package seccomp_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	elastic "github.com/elastic/go-seccomp-bpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"

	"pinhole/runtime/seccomp"
	"pinhole/runtime/seccomp/policy"
)

// Verdicts, linux/seccomp.h.
const (
	allow  = 0x7fff0000
	trap   = 0x00030000
	kill   = 0x80000000
	enosys = 0x00050000 | 38
)

// Architectures, linux/audit.h.
const (
	x86_64  = 0xc000003e
	i386    = 0x40000003
	aarch64 = 0xc00000b7
)

// want states the policy a second time, by hand and by another shape than the table.
func want(refusal, arch, nr uint32, a [6]uint64) uint32 {
	if arch != x86_64 {
		return refusal
	}
	if nr >= 0x40000000 {
		return enosys
	}
	ok := false
	switch nr {
	case 0: // read
		ok = a[0] == mark || a[0] == mark+3 || a[0] == mark+5 || a[0] == mark+7
	case 1: // write
		ok = a[0] == mark+1 || a[0] == mark+2 || a[0] == mark+4 || a[0] == mark+6
	case 9: // mmap
		switch a[4] {
		case mark + 0xffffffff:
			ok = a[3] == 0x22 || a[3] == 0x32 || a[3] == 0x4032 || a[3] == 0x8032
		case mark + 8:
			ok = a[3] == 0x12
		case mark + 9:
			ok = a[3] == 0x11
		}
		ok = ok && a[2] < 8
	case 60, 231: // exit, exit_group
		ok = a[0]>>8 == mark>>8
	case 202: // futex
		op := a[1] - mark
		ok = op == 128 || op == 129 || op == 137 || op == 138 || op == 384 || op == 385 || op == 393 || op == 394
	}
	if ok {
		return allow
	}
	return refusal
}

// machine runs one of the loaded programs on invented calls.
type machine struct {
	t       *testing.T
	vm      *bpf.VM
	refusal uint32
	rng     *rand.Rand
	ran     int
}

func machines(t *testing.T) []*machine {
	t.Helper()
	var ms []*machine
	for _, m := range []struct {
		action  seccomp.Action
		refusal uint32
	}{{seccomp.Trap, trap}, {seccomp.Kill, kill}} {
		insts, ok := bpf.Disassemble(raw(seccomp.Program(m.action)))
		if !ok {
			t.Fatal("the filter has instructions that x/net/bpf does not know")
		}
		vm, err := bpf.NewVM(insts)
		if err != nil {
			t.Fatal(err)
		}
		ms = append(ms, &machine{t: t, vm: vm, refusal: m.refusal, rng: rand.New(rand.NewPCG(1, 2))})
	}
	return ms
}

func raw(p []seccomp.Instruction) []bpf.RawInstruction {
	var out []bpf.RawInstruction
	for _, in := range p {
		out = append(out, bpf.RawInstruction{Op: in.Op, Jt: in.JT, Jf: in.JF, K: in.K})
	}
	return out
}

// check runs one call and compares the verdict with want's. The instruction pointer is
// random: no verdict may depend on it.
func (m *machine) check(arch, nr uint32, a [6]uint64) {
	m.t.Helper()
	// The VM loads big-endian words, seccomp native ones: each 32-bit half of struct
	// seccomp_data is laid down big-endian in the place of the native one.
	var data [64]byte
	word := func(off int, v uint32) { binary.BigEndian.PutUint32(data[off:], v) }
	word(0, nr)
	word(4, arch)
	word(8, m.rng.Uint32())
	word(12, m.rng.Uint32())
	for i, v := range a {
		word(16+8*i, uint32(v))
		word(20+8*i, uint32(v>>32))
	}
	got, err := m.vm.Run(data[:])
	if err != nil {
		m.t.Fatal(err)
	}
	m.ran++
	if w := want(m.refusal, arch, nr, a); uint32(got) != w {
		m.t.Fatalf("arch %#x call %d args %#x: verdict %#x, want %#x", arch, nr, a, uint32(got), w)
	}
}

// call fills the registers that the call does not name with random values.
func (m *machine) call(nr uint32, named map[int]uint64) {
	m.t.Helper()
	a := m.noise()
	for i, v := range named {
		a[i] = v
	}
	m.check(x86_64, nr, a)
}

func (m *machine) noise() (a [6]uint64) {
	for i := range a {
		a[i] = m.rng.Uint64() >> (m.rng.UintN(8) * 8)
	}
	return a
}

// mark is seccomp.Mark, stated again.
const mark = 0x5048 << 48

const sysRead, sysWrite, sysMmap, sysExit, sysFutex, sysExitGroup = 0, 1, 9, 60, 202, 231

// corner are registers that admit something in some row, and their neighbours.
func corner() []uint64 {
	var out []uint64
	for i := uint64(0); i < 12; i++ {
		out = append(out, i)
	}
	for i := uint64(0); i < 12; i++ {
		out = append(out, mark|i)
	}
	for _, op := range []uint64{0x80, 0x81, 0x89, 0x8a, 0x180, 0xffffffff} {
		out = append(out, mark|op)
	}
	return append(out, 0x11, 0x12, 0x22, 0x32, 0x80, 0x81, 0x89, 0x8a, 0x180, 0x4032, 0x8032, 0x8011,
		0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0xffffffff00000000, 1<<63, ^uint64(0))
}

func TestEveryCallNumber(t *testing.T) {
	for _, m := range machines(t) {
		for nr := range uint32(1024) {
			for _, v := range corner() {
				m.check(x86_64, nr, [6]uint64{v, v, v, v, v, v})
			}
			m.check(x86_64, nr, [6]uint64{mark, mark | 128, 7, 0x32, mark | 0xffffffff, 0}) // all that is admitted, in one
			m.check(x86_64, nr, [6]uint64{mark | 1, mark | 129, 0, 0x12, mark | 8, 0})
			m.check(x86_64, nr, [6]uint64{0, 128, 7, 0x32, 0xffffffff, 0}) // the same without the mark
			m.check(x86_64, nr, [6]uint64{1, 129, 0, 0x12, 8, 0})
			m.check(x86_64, nr, m.noise())
		}
		for range 20000 {
			m.check(x86_64, m.rng.Uint32(), m.noise())
		}
	}
}

func TestX32AndOtherArchitectures(t *testing.T) {
	for _, m := range machines(t) {
		for nr := range uint32(1024) {
			for _, a := range [][6]uint64{{}, {mark | 1}, {mark, mark | 128}, {0, 0, 7, 0x32, mark | 0xffffffff}, m.noise()} {
				for _, base := range []uint32{0x40000000, 0x80000000, 0xc0000000, 0xfffffc00} {
					m.check(x86_64, base+nr, a)
				}
				for _, arch := range []uint32{i386, aarch64, 0, x86_64 ^ 0x80000000, x86_64 ^ 0x40000000} {
					m.check(arch, nr, a)
					m.check(arch, 0x40000000+nr, a)
				}
			}
		}
	}
}

// flips returns v and every value that differs from it in one bit of the whole register.
func flips(v uint64) []uint64 {
	out := []uint64{v}
	for bit := range 64 {
		out = append(out, v^1<<bit)
	}
	return out
}

func TestReadWriteDescriptors(t *testing.T) {
	for _, m := range machines(t) {
		for fd := range uint64(1025) {
			for _, alias := range []uint64{0, mark, 1 << 32, 1 << 63, mark | 1<<32, 0xffffffff00000000} {
				m.call(sysRead, map[int]uint64{0: fd | alias})
				m.call(sysWrite, map[int]uint64{0: fd | alias})
			}
		}
		for fd := range uint64(12) {
			for _, v := range append(flips(fd), flips(mark|fd)...) {
				m.call(sysRead, map[int]uint64{0: v})
				m.call(sysWrite, map[int]uint64{0: v})
			}
		}
	}
}

func TestFutexOperations(t *testing.T) {
	for _, m := range machines(t) {
		for op := range uint64(1 << 12) {
			m.call(sysFutex, map[int]uint64{1: op})
			m.call(sysFutex, map[int]uint64{1: op | mark})
			m.call(sysFutex, map[int]uint64{1: op | 1<<32})
			m.call(sysFutex, map[int]uint64{1: op | 0xffffffff00000000})
		}
		for op := range uint64(16) {
			for _, v := range slices.Concat(flips(op|0x80), flips(op|0x180), flips(mark|op|0x80), flips(mark|op|0x180)) {
				m.call(sysFutex, map[int]uint64{1: v})
			}
		}
	}
}

func TestMmapFlags(t *testing.T) {
	descriptors := []uint64{0xffffffff, ^uint64(0), 8, 9, mark | 0xffffffff, mark | 8, mark | 9}
	sets := []uint64{0x11, 0x12, 0x22, 0x32, 0x4032, 0x8011, 0x8012, 0x8032}
	for _, m := range machines(t) {
		mmap := func(prot, flags, fd uint64) { m.t.Helper(); m.call(sysMmap, map[int]uint64{2: prot, 3: flags, 4: fd}) }
		for _, fd := range descriptors {
			step := uint64(1)
			if testing.Short() {
				step = 7 // prime to the powers of two: still every bit and many combinations
			}
			for flags := uint64(0); flags < 1<<16; flags += step {
				mmap(3, flags, fd)
			}
			for _, set := range sets {
				for _, flags := range flips(set) {
					mmap(3, flags, fd)
					for _, two := range flips(flags) {
						mmap(1, two, fd)
					}
				}
				for prot := range uint64(32) {
					mmap(prot, set, fd)
				}
				for p := range uint64(8) {
					for _, prot := range flips(p) {
						mmap(prot, set, fd)
					}
				}
				for _, alias := range flips(fd) {
					mmap(7, set, alias)
				}
			}
		}
		for _, set := range sets {
			for fd := range uint64(1025) {
				for _, alias := range []uint64{0, mark, 1 << 32, 1 << 63, mark | 1<<32, 0xffffffff00000000} {
					mmap(3, set, fd|alias)
				}
			}
			for low := uint64(0xfffffff0); low <= 0xffffffff; low++ {
				for _, high := range []uint64{0, 1, mark >> 32, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff} {
					mmap(3, set, low|high<<32)
				}
			}
		}
	}
}

func TestRandomCalls(t *testing.T) {
	pool := corner()
	calls := []uint32{sysRead, sysWrite, sysMmap, sysExit, sysFutex, sysExitGroup, 2, 3, 10, 11, 15, 56}
	for _, m := range machines(t) {
		for range 200000 {
			var a [6]uint64
			for i := range a {
				a[i] = pool[m.rng.IntN(len(pool))]
			}
			m.check(x86_64, calls[m.rng.IntN(len(calls))], a)
		}
	}
}

// FuzzVerdict looks for a call on which the filter and the statement above differ.
func FuzzVerdict(f *testing.F) {
	f.Add(uint32(x86_64), uint32(sysMmap), uint64(0), uint64(1), uint64(3), uint64(0x32), uint64(mark|0xffffffff), uint64(0))
	f.Add(uint32(i386), uint32(sysRead), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, arch, nr uint32, a, b, c, d, e, g uint64) {
		for _, m := range machines(t) {
			m.check(arch, nr, [6]uint64{a, b, c, d, e, g})
		}
	})
}

// TestRows: every row admits what it says, and only its call's name is in question.
func TestRows(t *testing.T) {
	number := map[string]uint32{"read": sysRead, "write": sysWrite, "mmap": sysMmap, "exit": sysExit, "futex": sysFutex, "exit_group": sysExitGroup}
	seen := map[string]bool{}
	for _, row := range seccomp.Table {
		nr, ok := number[row.Call]
		if !ok {
			t.Errorf("row for %s: not one of the five calls", row.Call)
			continue
		}
		if row.Why == "" {
			t.Errorf("row for %s %v gives no reason", row.Call, row.If)
		}
		key := fmt.Sprint(row.Call, row.If)
		if seen[key] {
			t.Errorf("row for %s %v stands twice", row.Call, row.If)
		}
		seen[key] = true
		for _, m := range machines(t) {
			a := m.noise()
			for _, c := range row.If {
				a[c.Arg] = c.Value
			}
			if want(m.refusal, x86_64, nr, a) != allow {
				t.Errorf("row for %s %v is not in the policy as stated by the test", row.Call, row.If)
			}
			m.check(x86_64, nr, a)
		}
	}
}

// TestLoadsOnly: the program reads the number, the architecture and arguments; not the
// instruction pointer, at offsets 8 and 12 of struct seccomp_data.
func TestLoadsOnly(t *testing.T) {
	for _, a := range []seccomp.Action{seccomp.Trap, seccomp.Kill} {
		for i, in := range seccomp.Program(a) {
			const loadAbsolute = 0x20
			switch class := in.Op & 7; {
			case in.Op == loadAbsolute:
				if in.K == 8 || in.K == 12 || in.K%4 != 0 || in.K >= 64 {
					t.Errorf("instruction %d loads from offset %d", i, in.K)
				}
			case class == 0 || class == 1:
				t.Errorf("instruction %d is a load of another kind: %#x", i, in.Op)
			}
		}
	}
}

// TestGenerated: what is loaded is what the table assembles to.
func TestGenerated(t *testing.T) {
	for _, f := range []struct {
		ours   seccomp.Action
		theirs elastic.Action
	}{{seccomp.Trap, elastic.ActionTrap}, {seccomp.Kill, elastic.ActionKillProcess}} {
		prog, err := policy.Assemble(seccomp.Table, f.theirs)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(prog, raw(seccomp.Program(f.ours))); diff != "" {
			t.Errorf("zfilter.go is not what table.go assembles to; run go generate ./runtime/seccomp\n%s", diff)
		}
	}
}
