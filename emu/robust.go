package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// threadSetRobustList answers thread_set_robust_list (set_robust_list(2)).
func (t *Task) threadSetRobustList(head abi.Addr, n uint64) (uint64, abi.Errno) {
	if n != abi.RobustListHeadSize {
		return 0, abi.EINVAL
	}
	t.robust = head
	return 0, 0
}

// threadGetRobustList answers thread_get_robust_list (get_robust_list(2)).
func (t *Task) threadGetRobustList(tid int32, head, n abi.Addr) (uint64, abi.Errno) {
	o := t
	if tid != 0 && tid != t.tid {
		if o = t.proc.task(tid); o == nil {
			return 0, abi.ESRCH
		}
	}
	if !guest.Store64(n, abi.RobustListHeadSize) || !guest.Store64(head, uint64(o.robust)) {
		return 0, abi.EFAULT
	}
	return 0, 0
}

// maxRobust bounds how many entries of a robust list are followed: the list is the guest's.
const maxRobust = 2048

// releaseRobust marks the robust futexes that the thread still holds as those of a dead owner
// and wakes one that waits for each (get_robust_list(2)).
func (t *Task) releaseRobust() {
	if t.robust == 0 {
		return
	}
	var b [abi.RobustListHeadSize]byte
	if guest.CopyIn(b[:], t.robust) < len(b) {
		return
	}
	var h abi.RobustListHead
	h.Decode(b[:])
	pending := h.Pending &^ 1
	for e, i := h.Next, 0; e&^1 != t.robust && i < maxRobust; i++ {
		pi := e&1 != 0
		e &^= 1
		next, ok := guest.Load64(e)
		if e != pending && !t.releaseWord(abi.Addr(int64(e)+h.Offset), pi, false) || !ok {
			return
		}
		e = abi.Addr(next)
	}
	if pending != 0 {
		t.releaseWord(abi.Addr(int64(pending)+h.Offset), h.Pending&1 != 0, true)
	}
}

// releaseWord lets go of one robust futex if the thread owns it. False: there is none, and the list is not one to follow
// further.
func (t *Task) releaseWord(word abi.Addr, pi, pending bool) bool {
	k := t.proc.futexKeyOf(word, 0)
	for {
		v, ok := guest.Load32(word)
		if !ok {
			return false
		}
		if v&abi.FUTEX_TID_MASK != uint32(t.tid) {
			// An unlock that was cut short has already let go, but perhaps not woken anybody.
			if pending && !pi && v&abi.FUTEX_TID_MASK == 0 {
				t.kernel.futexes.wake(k, 1, abi.FUTEX_BITSET_MATCH_ANY)
			}
			return true
		}
		prev, ok := guest.CompareAndSwap32(word, v, v&abi.FUTEX_WAITERS|abi.FUTEX_OWNER_DIED)
		if !ok {
			return false
		}
		if prev == v {
			if v&abi.FUTEX_WAITERS != 0 && !pi { // else releasePI passes it on
				t.kernel.futexes.wake(k, 1, abi.FUTEX_BITSET_MATCH_ANY)
			}
			return true
		}
	}
}
