package host

import (
	"fmt"
	"strings"
)

// idleSource chooses which idle host thread a processor of the runtime is given to. Guest threads are goroutines, and
// each wake of one may bring another host thread: the runtime takes the one that became idle last.
// Linux looks for an idle processor at the place where a thread ran last, and beyond it only if
// there are many in the cache's domain, or few in use (select_idle_sibling in kernel/sched/fair.c). So a thread
// that ran last where its waker runs now is queued behind that one, for up to a time slice of 4 ms,
// while another processor is idle.
const idleSource = `package runtime

import (
	"internal/cpu"
	"unsafe"
)

// pinholeRanOn is the processor that each thread became idle on, by number of the thread. Threads that share
// a place here, as there are not that many, only have a worse choice made. sched.lock guards it.
var pinholeRanOn [256]uint32

// pinholeProcessor returns the number of the processor that the caller runs on.
func pinholeProcessor() uint32

func pinholeHere() uint32 {
	if !cpu.X86.HasRDTSCP {
		return 0
	}
	return pinholeProcessor()
}

// pinholeIdle notes that the calling thread, mp, becomes idle. sched.lock is held.
func pinholeIdle(mp *m) {
	pinholeRanOn[mp.id%int64(len(pinholeRanOn))] = pinholeHere()
}

// pinholeGet is mget, but prefers a thread that ran last on another processor than the caller's.
// sched.lock is held.
//
//go:nowritebarrierrec
func pinholeGet() *m {
	here := pinholeHere()
	for at := sched.midle.obj; at != 0; {
		mp := (*m)(unsafe.Pointer(at))
		if pinholeRanOn[mp.id%int64(len(pinholeRanOn))] != here {
			sched.midle.remove(unsafe.Pointer(mp))
			sched.nmidle--
			return mp
		}
		at = mp.idleNode.next
	}
	return mget()
}
`

// idleAssembly reads the number that Linux keeps in the register TSC_AUX: the processor's in the lower 12 bits, the
// node's above (asm/segment.h, vdso_encode_cpunode).
const idleAssembly = `#include "textflag.h"

// func pinholeProcessor() uint32
TEXT ·pinholeProcessor(SB),NOSPLIT,$0-4
	RDTSCP
	ANDL	$0xfff, CX
	MOVL	CX, ret+0(FP)
	RET
`

// changeIdle puts pinholeIdle and pinholeGet in place.
func changeIdle(old string) (string, error) {
	for _, c := range []struct{ what, anchor, to string }{
		{"an idle thread is taken", "\tnmp := mget()\n", "\tnmp := pinholeGet()\n"},
		{"a thread becomes idle", "\tsched.midle.push(unsafe.Pointer(mp))\n", "\tpinholeIdle(mp)\n\tsched.midle.push(unsafe.Pointer(mp))\n"},
	} {
		if n := strings.Count(old, c.anchor); n != 1 {
			return "", fmt.Errorf("found %d places where %s, want 1", n, c.what)
		}
		old = strings.Replace(old, c.anchor, c.to, 1)
	}
	return old, nil
}
