package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// sched finds the thread that a scheduler call is about; 0 is the caller.
func (t *Task) sched(tid int32) (*Task, abi.Errno) {
	if tid < 0 {
		return nil, abi.EINVAL
	}
	if tid == 0 || tid == t.tid {
		return t, 0
	}
	if o := t.kernel.task(tid); o != nil {
		return o, 0
	}
	return nil, abi.ESRCH
}

// threadGetaffinity answers thread_getaffinity (sched_getaffinity(2)): every processor that the
// sandbox has. The result is the number of bytes written, as from Linux's call itself.
func (t *Task) threadGetaffinity(tid int32, n uint64, mask abi.Addr) (uint64, abi.Errno) {
	if _, errno := t.sched(tid); errno != 0 {
		return 0, errno
	}
	b := t.cpuMask()
	if n < uint64(len(b)) || n%8 != 0 {
		return 0, abi.EINVAL
	}
	if guest.CopyOut(mask, b) < len(b) {
		return 0, abi.EFAULT
	}
	return uint64(len(b)), 0
}

// cpuMask returns a bit for each processor, in whole words of 64.
func (t *Task) cpuMask() []byte {
	cpus := max(t.kernel.m.CPUs(), 1)
	b := make([]byte, (cpus+63)/64*8)
	for i := range cpus {
		b[i/8] |= 1 << (i % 8)
	}
	return b
}

// threadSetaffinity answers thread_setaffinity (sched_setaffinity(2)): a set with a processor that
// there is will do, and has no effect.
func (t *Task) threadSetaffinity(tid int32, n uint64, mask abi.Addr) (uint64, abi.Errno) {
	if _, errno := t.sched(tid); errno != 0 {
		return 0, errno
	}
	have := t.cpuMask()
	want := make([]byte, min(n, uint64(len(have))))
	if guest.CopyIn(want, mask) < len(want) {
		return 0, abi.EFAULT
	}
	for i := range want {
		if want[i]&have[i] != 0 {
			return 0, 0
		}
	}
	return 0, abi.EINVAL
}

// threadGetscheduler answers thread_getscheduler (sched_getscheduler(2)).
func (t *Task) threadGetscheduler(tid int32) (uint64, abi.Errno) {
	_, errno := t.sched(tid)
	return abi.SCHED_OTHER, errno
}

// threadSetscheduler answers thread_setscheduler (sched_setscheduler(2)): there is no real-time
// policy.
func (t *Task) threadSetscheduler(tid, policy int32, param abi.Addr) (uint64, abi.Errno) {
	if _, errno := t.sched(tid); errno != 0 {
		return 0, errno
	}
	switch policy &^ abi.SCHED_RESET_ON_FORK {
	case abi.SCHED_OTHER, abi.SCHED_BATCH, abi.SCHED_IDLE:
		return t.threadSetparam(tid, param)
	case abi.SCHED_FIFO, abi.SCHED_RR, abi.SCHED_DEADLINE:
		return 0, abi.EPERM
	}
	return 0, abi.EINVAL
}

// threadGetparam answers thread_getparam (sched_getparam(2)).
func (t *Task) threadGetparam(tid int32, param abi.Addr) (uint64, abi.Errno) {
	if _, errno := t.sched(tid); errno != 0 {
		return 0, errno
	}
	if param == 0 {
		return 0, abi.EINVAL
	}
	if !guest.Store32(param, 0) {
		return 0, abi.EFAULT
	}
	return 0, 0
}

// threadSetparam answers thread_setparam (sched_setparam(2)): the one priority there is, is 0.
func (t *Task) threadSetparam(tid int32, param abi.Addr) (uint64, abi.Errno) {
	if _, errno := t.sched(tid); errno != 0 {
		return 0, errno
	}
	if param == 0 {
		return 0, abi.EINVAL
	}
	v, ok := guest.Load32(param)
	if !ok {
		return 0, abi.EFAULT
	}
	if v != 0 {
		return 0, abi.EINVAL
	}
	return 0, 0
}

// threadPriorityRange answers thread_priority_range (sched_get_priority_max(2) and _min).
func (t *Task) threadPriorityRange(policy, max int32) (uint64, abi.Errno) {
	switch policy {
	case abi.SCHED_OTHER, abi.SCHED_BATCH, abi.SCHED_IDLE, abi.SCHED_DEADLINE:
		return 0, 0
	case abi.SCHED_FIFO, abi.SCHED_RR:
		if max != 0 {
			return 99, 0
		}
		return 1, 0
	}
	return 0, abi.EINVAL
}

// threadCpu answers thread_cpu (getcpu(2)). A guest thread is on no processor in particular, so
// any is right.
func (t *Task) threadCpu(cpu, node abi.Addr) (uint64, abi.Errno) {
	n := uint32(t.tid) % uint32(max(t.kernel.m.CPUs(), 1))
	if cpu != 0 && !guest.Store32(cpu, n) || node != 0 && !guest.Store32(node, 0) {
		return 0, abi.EFAULT
	}
	return 0, 0
}

// barriers are the commands of membarrier(2) that are offered.
const barriers = abi.MEMBARRIER_CMD_GLOBAL | abi.MEMBARRIER_CMD_GLOBAL_EXPEDITED | abi.MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED |
	abi.MEMBARRIER_CMD_PRIVATE_EXPEDITED | abi.MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED |
	abi.MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE | abi.MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE

// threadBarrier answers thread_barrier (membarrier(2)): every other thread passes through the
// kernel, or waits in it.
func (t *Task) threadBarrier(cmd int32, flags uint32, cpu int32) (uint64, abi.Errno) {
	if flags != 0 {
		return 0, abi.EINVAL
	}
	switch cmd {
	case abi.MEMBARRIER_CMD_QUERY:
		return barriers, 0
	case abi.MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, abi.MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
		abi.MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE:
		return 0, 0
	case abi.MEMBARRIER_CMD_GLOBAL, abi.MEMBARRIER_CMD_GLOBAL_EXPEDITED, abi.MEMBARRIER_CMD_PRIVATE_EXPEDITED,
		abi.MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE:
		if t.proc.live.Load() > 1 {
			if errno := t.quiet(); errno != 0 {
				return 0, errno
			}
			t.unquiet()
		}
		return 0, 0
	}
	return 0, abi.EINVAL
}
