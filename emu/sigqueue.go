package emu

import (
	"slices"

	"pinhole/abi"
)

// sigQueue is a list of pending signals. Of the first 31 only one of each is kept, of the
// real-time ones as many as the process's limit admits, in order.
type sigQueue struct {
	set  abi.Sigset
	list []pendingSignal
}

type pendingSignal struct {
	abi.Siginfo
	timer *posixTimer // that sent it; nil: none
}

// maxQueued bounds the real-time signals that are pending for a process and its threads
// (RLIMIT_SIGPENDING may be lower).
const maxQueued = 4096

// add puts a signal into the queue; EAGAIN when the process has limit of them. One that was sent by kill(2) or
// the kernel has its place all the same, but no second one.
func (q *sigQueue) add(info *abi.Siginfo, s *signals, limit uint64) abi.Errno {
	sig := int(info.Signo)
	if sig < abi.SIGRTMIN {
		if q.set.Has(sig) {
			return 0
		}
	} else if uint64(s.queued) >= min(limit, maxQueued) {
		if info.Code < 0 {
			return abi.EAGAIN
		}
		if q.set.Has(sig) {
			return 0
		}
	}
	q.put(pendingSignal{Siginfo: *info}, s)
	return 0
}

// put puts a signal into the queue, whatever is in it. Each timer has one at most.
func (q *sigQueue) put(p pendingSignal, s *signals) {
	sig := int(p.Signo)
	if sig >= abi.SIGRTMIN {
		s.queued++
	}
	q.set = q.set.Add(sig)
	q.list = append(q.list, p)
}

// take removes the first pending signal of set: faults before others, lower numbers before higher.
func (q *sigQueue) take(set abi.Sigset, s *signals) (info abi.Siginfo, ok bool) {
	set &= q.set
	if set == 0 {
		return info, false
	}
	sig := 1
	if f := set & faultSignals; f != 0 {
		set = f
	}
	for !set.Has(sig) {
		sig++
	}
	at, more := -1, false
	for i := range q.list {
		if int(q.list[i].Signo) == sig {
			if at >= 0 {
				more = true
				break
			}
			at = i
		}
	}
	info = q.list[at].Siginfo
	timer := q.list[at].timer
	q.list = slices.Delete(q.list, at, at+1)
	if !more {
		q.set = q.set.Del(sig)
	}
	if sig >= abi.SIGRTMIN {
		s.queued--
	}
	if timer != nil {
		info.Overrun = timer.taken()
	}
	return info, true
}

// drop removes the signal of a timer that is about to be deleted, or set.
func (q *sigQueue) drop(timer *posixTimer, s *signals) {
	at := slices.IndexFunc(q.list, func(p pendingSignal) bool { return p.timer == timer })
	if at < 0 {
		return
	}
	sig := int(q.list[at].Signo)
	q.list = slices.Delete(q.list, at, at+1)
	if sig >= abi.SIGRTMIN {
		s.queued--
	}
	if !slices.ContainsFunc(q.list, func(p pendingSignal) bool { return int(p.Signo) == sig }) {
		q.set = q.set.Del(sig)
	}
}

// flush removes all signals of set.
func (q *sigQueue) flush(set abi.Sigset, s *signals) {
	if q.set&set == 0 {
		return
	}
	q.set &^= set
	kept := q.list[:0]
	for _, p := range q.list {
		sig := int(p.Signo)
		if !set.Has(sig) {
			kept = append(kept, p)
			continue
		}
		if sig >= abi.SIGRTMIN {
			s.queued--
		}
		if p.timer != nil {
			p.timer.flushed()
		}
	}
	clear(q.list[len(kept):])
	q.list = kept
}
