package emu

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// newSignalWorld is a process with one thread, whose stack is the memory of the world.
func newSignalWorld(t testing.TB) (*memWorld, uint64) {
	w := newMemWorld(t)
	n := uint64(16 * pageSize)
	a := w.ok(w.memMap(0, n, abi.PROT_READ|abi.PROT_WRITE, abi.MAP_PRIVATE|abi.MAP_ANONYMOUS, -1, 0))
	top := a + n
	w.ctx.RSP, w.ctx.RIP = top-512, 0x401000
	return w, top
}

func TestSignalQueue(t *testing.T) {
	var q sigQueue
	var all signals
	for _, s := range []struct {
		sig  int32
		code int32
	}{{abi.SIGUSR1, 1}, {40, 1}, {abi.SIGUSR1, 2}, {40, 2}, {abi.SIGSEGV, 1}, {abi.SIGHUP, 1}, {35, 1}} {
		q.add(&abi.Siginfo{Signo: s.sig, Code: s.code}, &all, 100)
	}
	var got [][2]int32
	for {
		info, ok := q.take(^sigset(35), &all)
		if !ok {
			break
		}
		got = append(got, [2]int32{info.Signo, info.Code})
	}
	// Faults first, then by number; the second SIGUSR1 is one with the first.
	want := [][2]int32{{abi.SIGSEGV, 1}, {abi.SIGHUP, 1}, {abi.SIGUSR1, 1}, {40, 1}, {40, 2}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if q.set != sigset(35) || len(q.list) != 1 || all.queued != 1 {
		t.Errorf("left: %#x, %d, %d", q.set, len(q.list), all.queued)
	}
	var other sigQueue
	other.add(&abi.Siginfo{Signo: 40}, &all, 3)
	q.add(&abi.Siginfo{Signo: 40}, &all, 3)
	if errno := q.add(&abi.Siginfo{Signo: 40, Code: abi.SI_QUEUE}, &all, 3); errno != abi.EAGAIN {
		t.Errorf("full queue: %v", errno)
	}
	if errno := q.add(&abi.Siginfo{Signo: 40, Code: abi.SI_USER}, &all, 3); errno != 0 || all.queued != 3 {
		t.Errorf("a signal of kill(2) to a full queue that has one: %v, %d queued", errno, all.queued)
	}
	if errno := q.add(&abi.Siginfo{Signo: abi.SIGTERM}, &all, 3); errno != 0 {
		t.Errorf("a plain signal to a full queue: %v", errno)
	}
	q.flush(^abi.Sigset(0), &all)
	if all.queued != 1 || q.set != 0 || len(q.list) != 0 {
		t.Errorf("after flush: %d queued, %#x", all.queued, q.set)
	}
}

// TestSignalFrame compares a frame byte by byte with what Linux's struct rt_sigframe says.
func TestSignalFrame(t *testing.T) {
	w, _ := newSignalWorld(t)
	c := w.ctx
	c.RIP, c.RFLAGS, c.Full = 0x401234, 0x246, 1
	regs := []*uint64{&c.R8, &c.R9, &c.R10, &c.R11, &c.R12, &c.R13, &c.R14, &c.R15, &c.RDI, &c.RSI, &c.RBP, &c.RBX, &c.RDX, &c.RAX, &c.RCX}
	for i, r := range regs {
		*r = 0x100 + uint64(i)
	}
	before := *c
	x := xsaveArea(c)
	for i := 32; i < xsaveSoftware; i++ { // st0 to xmm15
		x[i] = byte(i)
	}
	x[576] = 0xaa // AVX state
	x[xsaveHeader] = 7
	xBefore := bytes.Clone(x)
	act := abi.Sigaction{Handler: 0x402000, Restorer: 0x403000, Flags: abi.SA_SIGINFO | abi.SA_RESTORER, Mask: sigset(abi.SIGTERM)}
	w.sigmask = sigset(abi.SIGHUP)
	w.altStack = abi.SigaltStack{SP: 0x5000, Size: 0x2000}
	if !w.handle(&abi.Siginfo{Signo: abi.SIGUSR1, Code: abi.SI_TKILL, PID: 77, UID: 88}, &act) {
		t.Fatal("no frame")
	}

	frame := c.RSP
	if frame%16 != 8 || frame > before.RSP-redZone-frameSize {
		t.Errorf("frame at %#x, the stack was at %#x", frame, before.RSP)
	}
	got := make([]byte, frameSize)
	if guest.CopyIn(got, abi.Addr(frame)) < len(got) {
		t.Fatal("cannot read the frame")
	}
	fp := le.Uint64(got[8+40+184:])
	want := make([]byte, frameSize)
	put := func(off int, v uint64) { le.PutUint64(want[off:], v) }
	put(0, 0x403000)      // pretcode
	put(8, 7)             // uc_flags
	put(8+16, 0x5000)     // uc_stack.ss_sp
	put(8+32, 0x2000)     // uc_stack.ss_size
	for i := range regs { // r8 ... rcx
		put(8+40+8*i, 0x100+uint64(i))
	}
	put(8+40+120, before.RSP)
	put(8+40+128, 0x401234)                   // rip
	put(8+40+136, 0x246)                      // eflags
	put(8+40+144, 0x2b<<48|0x33)              // cs gs fs ss
	put(8+40+168, uint64(sigset(abi.SIGHUP))) // oldmask
	put(8+40+184, fp)
	put(8+40+256, uint64(sigset(abi.SIGHUP))) // uc_sigmask
	le.PutUint32(want[312:], abi.SIGUSR1)
	code := int32(abi.SI_TKILL)
	le.PutUint32(want[320:], uint32(code))
	le.PutUint32(want[328:], 77)
	le.PutUint32(want[332:], 88)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if fp%64 != 0 || fp < frame+frameSize || fp+uint64(len(x))+4 > before.RSP-redZone {
		t.Errorf("vector state at %#x, frame at %#x", fp, frame)
	}
	state := make([]byte, len(x)+4)
	guest.CopyIn(state, abi.Addr(fp))
	if d := cmp.Diff(append(xBefore, 0x45, 0x58, 0x50, 0x46), state); d != "" {
		t.Error(d)
	}

	// What the handler begins with.
	if c.RIP != 0x402000 || c.RDI != abi.SIGUSR1 || c.RSI != frame+312 || c.RDX != frame+8 || c.RAX != 0 || c.RFLAGS != flagsFixed || c.Full == 0 {
		t.Errorf("handler: %+v", *c)
	}
	if w.sigmask != sigset(abi.SIGHUP, abi.SIGTERM, abi.SIGUSR1) {
		t.Errorf("handler runs with %#x blocked", w.sigmask)
	}

	// It returns, by the restorer, which calls the gate.
	w.altStack = abi.SigaltStack{}
	c.RSP = frame + 8
	c.Full = 0
	clear(x[:xsaveSoftware])
	v, errno := w.signalReturn()
	if errno != 0 || v != before.RAX {
		t.Errorf("signal_return: %#x %v", v, errno)
	}
	c.RAX = v
	if d := cmp.Diff(before, *c); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(x, xBefore) {
		t.Error(cmp.Diff(xBefore, x))
	}
	if w.sigmask != sigset(abi.SIGHUP) || w.altStack.Size != 0x2000 {
		t.Errorf("after the handler: %#x blocked, %+v", w.sigmask, w.altStack)
	}
}

// TestSignalReturnHostile gives signal_return frames that no kernel has made.
func TestSignalReturnHostile(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(u *abi.Ucontext, x []byte)
		dies   bool
	}{
		{"none", func(*abi.Ucontext, []byte) {}, false},
		{"no state", func(u *abi.Ucontext, x []byte) { u.Machine.FPState = 0 }, false},
		{"state at a bad address", func(u *abi.Ucontext, x []byte) { u.Machine.FPState = 64 }, true},
		{"state of the kernel", func(u *abi.Ucontext, x []byte) { u.Machine.FPState = ^abi.Addr(0) &^ 63 }, true},
		{"address that is none", func(u *abi.Ucontext, x []byte) { u.Machine.RIP = 1 << 63 }, true},
		{"stack that is none", func(u *abi.Ucontext, x []byte) { u.Machine.RSP = 1 << 50 }, true},
		{"system flags", func(u *abi.Ucontext, x []byte) { u.Machine.RFLAGS = ^uint64(0) }, false},
		{"kernel segments", func(u *abi.Ucontext, x []byte) { u.Machine.CS, u.Machine.SS = 0x10, 0x18 }, false},
		{"all masked", func(u *abi.Ucontext, x []byte) { u.Mask = ^abi.Sigset(0) }, false},
		{"header of ones", func(u *abi.Ucontext, x []byte) {
			for i := range x[xsaveHeader:576] {
				x[xsaveHeader+i] = 0xff
			}
		}, false},
		{"MXCSR of ones", func(u *abi.Ucontext, x []byte) { le.PutUint32(x[24:], ^uint32(0)) }, false},
		{"wrong magic", func(u *abi.Ucontext, x []byte) { x[xsaveSoftware] = 0 }, false},
		{"wrong size", func(u *abi.Ucontext, x []byte) { le.PutUint32(x[xsaveSoftware+16:], 1<<30) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := newSignalWorld(t)
			act := abi.Sigaction{Handler: 0x402000, Restorer: 0x403000}
			w.handle(&abi.Siginfo{Signo: abi.SIGUSR1}, &act)
			at := abi.Addr(w.ctx.RSP) + frameContext
			b := make([]byte, abi.UcontextSize)
			guest.CopyIn(b, at)
			var u abi.Ucontext
			u.Decode(b)
			x := make([]byte, w.ctx.XSaveSize)
			fp := u.Machine.FPState
			guest.CopyIn(x, fp)
			c.change(&u, x)
			u.Encode(b)
			guest.CopyOut(at, b)
			guest.CopyOut(fp, x)
			w.ctx.RSP += 8
			w.signalReturn()
			if w.proc.exiting != c.dies {
				t.Errorf("the process ends: %v", w.proc.exiting)
			}
			if w.ctx.RFLAGS&^flagsUser != flagsFixed {
				t.Errorf("flags %#x", w.ctx.RFLAGS)
			}
			if w.sigmask&unmaskable != 0 {
				t.Error("SIGKILL is blocked")
			}
			area := xsaveArea(w.ctx)
			if le.Uint64(area[xsaveHeader:])&^7 != 0 || !bytes.Equal(area[xsaveHeader+8:576], make([]byte, 56)) || le.Uint32(area[24:])&^mxcsrMask != 0 {
				t.Error("the processor would fault on the vector state")
			}
		})
	}
}

func TestSignalOnStack(t *testing.T) {
	w, top := newSignalWorld(t)
	alt := abi.SigaltStack{SP: abi.Addr(top - 12*pageSize), Size: 4 * pageSize}
	if errno := w.setAltStack(alt); errno != 0 {
		t.Fatal(errno)
	}
	act := abi.Sigaction{Handler: 0x402000, Restorer: 0x403000, Flags: abi.SA_ONSTACK}
	w.handle(&abi.Siginfo{Signo: abi.SIGUSR1}, &act)
	if sp := abi.Addr(w.ctx.RSP); sp < alt.SP || sp >= alt.SP+abi.Addr(alt.Size) {
		t.Fatalf("handler on %#x", sp)
	}
	if errno := w.setAltStack(alt); errno != abi.EPERM {
		t.Errorf("the stack was changed while in use: %v", errno)
	}
	if s := w.altStackNow(w.ctx.RSP); s.Flags != abi.SS_ONSTACK {
		t.Errorf("flags %#x", s.Flags)
	}
	// Nested, it goes on where it is, until there is no room.
	for i := 0; ; i++ {
		if i > 100 {
			t.Fatal("frames go on below the stack")
		}
		if !w.pushFrame(&abi.Siginfo{Signo: abi.SIGUSR1}, &act, 0) {
			break
		}
		if sp := abi.Addr(w.ctx.RSP); sp < alt.SP {
			t.Fatalf("frame %d at %#x, below the stack at %#x", i, sp, alt.SP)
		}
	}
	w.ctx.RSP = top - 512
	for _, c := range []struct {
		s    abi.SigaltStack
		want abi.Errno
	}{
		{abi.SigaltStack{SP: 0x1000, Size: abi.MINSIGSTKSZ - 1}, abi.ENOMEM},
		{abi.SigaltStack{SP: 0x1000, Size: 1 << 20, Flags: 8}, abi.EINVAL},
		{abi.SigaltStack{Flags: abi.SS_DISABLE}, 0},
	} {
		if errno := w.setAltStack(c.s); errno != c.want {
			t.Errorf("%+v: %v, want %v", c.s, errno, c.want)
		}
	}
}

// TestSignalNoStack: without a stack for the frame, the process ends as on Linux.
func TestSignalNoStack(t *testing.T) {
	w, _ := newSignalWorld(t)
	w.ctx.RSP = 0x10000
	w.proc.sig.act[abi.SIGUSR1] = abi.Sigaction{Handler: 0x402000}
	w.proc.sig.act[abi.SIGSEGV] = abi.Sigaction{Handler: 0x402000}
	w.proc.signal(abi.SIGUSR1)
	if w.attend(0) || w.proc.status != killed(abi.SIGSEGV) {
		t.Errorf("status %d", w.proc.status)
	}
}

// TestSignalRestart: an interrupted call is made again by the gate's own entry, with its arguments.
func TestSignalRestart(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w, _ := newSignalWorld(t)
		c := w.ctx
		c.Why, c.RAX, c.RDI = guest.Call, abi.CallFileRead, 3
		rsp := c.RSP
		act := abi.Sigaction{Handler: 0x402000, Restorer: 0x403000}
		if restart {
			act.Flags = abi.SA_RESTART
		}
		w.proc.sig.act[abi.SIGUSR1] = act
		w.proc.signal(abi.SIGUSR1)
		if !w.finish(abi.CallFileRead, -int64(errRestart)) {
			t.Fatal("the thread ends")
		}
		b := make([]byte, abi.UcontextSize)
		guest.CopyIn(b, abi.Addr(c.RSP)+frameContext)
		var u abi.Ucontext
		u.Decode(b)
		m := u.Machine
		if !restart {
			if m.RIP != 0x401000 || m.RSP != rsp || int64(m.RAX) != -int64(abi.EINTR) {
				t.Errorf("not restarted: %+v", m)
			}
			continue
		}
		back, _ := guest.Load64(abi.Addr(m.RSP))
		if m.RIP != w.machine.GateAddr() || m.RSP != rsp-8 || back != 0x401000 || m.RAX != abi.CallFileRead || m.RDI != 3 {
			t.Errorf("restarted: %+v, return address %#x", m, back)
		}
	}
}

func TestSignalTaker(t *testing.T) {
	w, _ := newSignalWorld(t)
	p := w.proc
	other := newIOTask(w.kernel, p, 99)
	other.ctx = w.machine.NewContext()
	p.tasks[other.tid] = other
	p.sig.act[abi.SIGUSR1].Handler = 0x1000
	check := func(what string, want *Task) {
		t.Helper()
		w.Task.attention.Store(0)
		other.attention.Store(0)
		p.signal(abi.SIGUSR1)
		for _, o := range []*Task{w.Task, other} {
			if got := o.attention.Load()&attSignal != 0; got != (o == want) {
				t.Errorf("%s: thread %d is alerted: %v", what, o.tid, got)
			}
		}
	}
	check("nobody blocks it", w.Task)
	w.sigmask = sigset(abi.SIGUSR1)
	check("the first one blocks it", other)
	other.sigmask = sigset(abi.SIGUSR1)
	check("all block it", nil)
	other.sigwait = sigset(abi.SIGUSR1)
	check("one waits for it", other)
}

// TestMaskDuring: the signal that ends sigsuspend is handled, and the old mask is what its frame goes back to.
func TestMaskDuring(t *testing.T) {
	w, _ := newSignalWorld(t)
	w.proc.sig.act[abi.SIGUSR1] = abi.Sigaction{Handler: 0x402000}
	old := sigset(abi.SIGUSR1, abi.SIGTERM)
	w.sigmask = old
	w.proc.signal(abi.SIGUSR1)
	if w.attention.Load() != 0 {
		t.Fatal("alerted by a blocked signal")
	}
	_, set := w.mem.alloc(8)
	storeSet(set, sigset(abi.SIGTERM))
	w.fails(abi.EINTR)(w.signalSuspend(set, 8))
	if !w.finish(abi.CallSignalSuspend, -int64(abi.EINTR)) || w.frames != 1 {
		t.Fatalf("%d handlers were begun", w.frames)
	}
	b := make([]byte, abi.UcontextSize)
	guest.CopyIn(b, abi.Addr(w.ctx.RSP)+frameContext)
	var u abi.Ucontext
	u.Decode(b)
	if u.Mask != old || w.useOld {
		t.Errorf("goes back to %#x, want %#x", u.Mask, old)
	}
	// Without a signal, the old mask is back by itself.
	w.sigmask = old
	w.maskDuring(0)
	if !w.attend(0) || w.sigmask != old {
		t.Errorf("mask %#x, want %#x", w.sigmask, old)
	}
}

func TestSignalWait(t *testing.T) {
	w, _ := newSignalWorld(t)
	_, set := w.mem.alloc(8)
	b, info := w.mem.alloc(abi.SiginfoSize)
	_, ts := w.mem.alloc(16)
	storeSet(set, sigset(abi.SIGUSR1, abi.SIGCHLD))
	w.sigmask = sigset(abi.SIGUSR1, abi.SIGCHLD)
	storeTime(ts, 1e6)
	w.fails(abi.EAGAIN)(w.signalWait(set, info, ts, 8))
	w.proc.signal(abi.SIGCHLD) // ignored by default, but blocked: kept
	if sig := w.ok(w.signalWait(set, info, ts, 8)); sig != abi.SIGCHLD || le.Uint32(b) != abi.SIGCHLD {
		t.Errorf("signal %d", sig)
	}
	w.proc.sig.act[abi.SIGTERM].Handler = 0x1000
	w.proc.signal(abi.SIGTERM)
	w.fails(abi.EINTR)(w.signalWait(set, info, 0, 8))
}
