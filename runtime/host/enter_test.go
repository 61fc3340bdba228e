package host

import (
	"sync"
	"testing"
	"time"

	"pinhole/emu/guest"
)

func TestGate(t *testing.T) {
	exits(t, newGuest(t, "exit", 7), 7)
	exits(t, newGuest(t, "calls", 1000), 0)
}

func TestGateWhileBusy(t *testing.T) {
	churn(t)
	exits(t, newGuest(t, "calls", 200000), 0)
}

func TestFSBase(t *testing.T) { exits(t, newGuest(t, "fsbase", 1000), 0) }

// Many guests, more goroutines, few host threads.
func TestStress(t *testing.T) {
	churn(t)
	n, calls := 500, uint64(400)
	if testing.Short() {
		n, calls = 100, 100
	}
	var wg sync.WaitGroup
	for range n {
		c := newGuest(t, "mix", calls)
		wg.Go(func() { exits(t, c, 0) })
		d := newGuest(t, "mix", calls)
		wg.Go(func() {
			driveDetached(d)
			if d.Why != guest.Call || d.RAX != callExit || d.RDI != 0 {
				t.Errorf("detached guest: %s", describe(d))
			}
		})
	}
	wg.Wait()
}

func TestControlWords(t *testing.T) {
	var wg sync.WaitGroup
	for i := range uint64(16) {
		c := newGuest(t, "fpcontrol", i)
		wg.Go(func() { exits(t, c, 0) })
	}
	wg.Wait()
}

// A guest may leave any flag set when it enters; the kernel must run on, and so must the next.
func TestFlags(t *testing.T) {
	for name, flag := range map[string]uint64{
		"DF": 1 << 10, "AC": 1 << 18, "NT": 1 << 14, "TF": 1 << 8, "ID": 1 << 21,
	} {
		t.Run(name, func(t *testing.T) {
			c := newGuest(t, "flags", flag)
			if flag == 1<<8 {
				// Single steps are the guest's own business until it is in the gate.
				drive(c)
				if c.Why != guest.Fault || c.Signo != 5 {
					t.Errorf("single step in a guest: %s", describe(c))
				}
				return
			}
			exits(t, c, 0)
			exits(t, newGuest(t, "calls", 10), 0)
		})
	}
}

func TestPoolSize(t *testing.T) {
	for _, c := range []struct {
		cfg             Config
		cpus, n, guests int
	}{
		{Config{}, 1, 20, 8},
		{Config{}, 2, 21, 8},
		{Config{}, 16, 59, 32},
		{Config{BlockingCalls: 1}, 1, 15, 8},
		{Config{HostThreads: 14}, 2, 14, 1},
		{Config{HostThreads: 13}, 2, 0, 0},
	} {
		n, guests, err := c.cfg.pool(c.cpus)
		if n != c.n || guests != c.guests || (err != nil) != (c.n == 0) {
			t.Errorf("pool of %d threads, %d blocking calls on %d processors = %d, %d, %v", c.cfg.HostThreads, c.cfg.BlockingCalls, c.cpus, n, guests, err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a second machine in one process")
	}
}

func TestTime(t *testing.T) {
	a, ok := mach.Clock(clockMonotonic)
	if !ok {
		t.Fatal("no monotonic clock")
	}
	time.Sleep(time.Millisecond)
	b, _ := mach.Clock(clockMonotonic)
	if b-a < int64(time.Millisecond) {
		t.Errorf("monotonic clock went on by %d ns in a sleep of 1 ms", b-a)
	}
	real, _ := mach.Clock(clockRealtime)
	if d := time.Since(time.Unix(0, real)); d < 0 || d > time.Minute {
		t.Errorf("wall clock is %v off", d)
	}
	tai, _ := mach.Clock(clockInternationalTAI)
	if d := time.Duration(tai - real); d < 0 || d > 2*time.Minute {
		t.Errorf("TAI is %v from UTC", d)
	}
	for _, id := range []int{clockMonotonicRaw, clockBoottime} {
		v, ok := mach.Clock(id)
		w, _ := mach.Clock(id)
		if !ok || v <= 0 || w < v {
			t.Errorf("clock %d reads %d, then %d", id, v, w)
		}
	}
	for _, id := range []int{-1, 3, 10, 12, 1 << 20} {
		if _, ok := mach.Clock(id); ok {
			t.Errorf("clock %d exists", id)
		}
	}
}

// Where the vDSO would make a call, time is made from the processor's counter.
func TestTimeFromCounter(t *testing.T) {
	if mode != "trap" {
		t.Skip("only with a lock that traps")
	}
	for _, c := range []struct{ id, like int }{
		{clockRealtime, clockRealtime}, {clockMonotonic, clockMonotonic}, {clockMonotonicRaw, clockMonotonicRaw},
		{clockRealtimeCoarse, clockRealtime}, {clockMonotonicCoarse, clockMonotonic}, {clockBoottime, clockBoottime},
	} {
		got, err := hostClock(c.id)
		want, _ := mach.Clock(c.like)
		if d := time.Duration(want - got).Abs(); err != nil || d > time.Second {
			t.Errorf("clock %d is %v off: %v", c.id, d, err)
		}
	}
	last, _ := hostClock(clockMonotonic)
	for range 1000 {
		now, err := hostClock(clockMonotonic)
		if err != nil || now < last {
			t.Fatalf("monotonic clock goes from %d to %d: %v", last, now, err)
		}
		last = now
	}
}

func TestEntropy(t *testing.T) {
	a, b := make([]byte, 100000), make([]byte, 100000)
	if err := mach.Entropy(a); err != nil {
		t.Fatal(err)
	}
	if err := mach.Entropy(b); err != nil {
		t.Fatal(err)
	}
	if string(a) == string(b) || string(a[:16]) == string(a[16:32]) {
		t.Error("entropy repeats")
	}
}

// What a guest has put into its XSAVE area by a signal frame is made harmless in Run, too, between
// one step and the next: XRSTOR refuses reserved bits in the header.
func TestRunTames(t *testing.T) {
	c := newGuest(t, "calls", 100)
	spoilt := false
	mach.Run(c, func() bool {
		if c.Why == guest.Call && c.RAX == callEcho && !spoilt {
			spoilt = true
			*word64(c.XSave, fpReserved) = ^uint64(0)
			*word32(c.XSave, fpMXCSR) = ^uint32(0)
			c.RAX, c.RFLAGS, c.Full = c.RDI+c.RSI, 0x202, 1
			return true
		}
		return answer(c, func() {}, func() {})
	})
	for c.Why == guest.Tick {
		drive(c)
	}
	if !spoilt || c.Why != guest.Call || c.RAX != callExit || c.RDI != 0 {
		t.Errorf("guest with a spoilt XSAVE area, spoilt %v: %s", spoilt, describe(c))
	}
}
