package emu

import (
	"encoding/binary"
	"math/bits"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// The events that the three sets of select(2) stand for.
const (
	selectRead   = abi.POLLIN | abi.POLLRDNORM | abi.POLLRDBAND | abi.POLLHUP | abi.POLLERR
	selectWrite  = abi.POLLOUT | abi.POLLWRNORM | abi.POLLWRBAND | abi.POLLERR
	selectExcept = abi.POLLPRI
)

// pollSelect is pselect6(2), as Linux has it: the timeout is written back, and mask points to the address
// and size of a signal set.
func (t *Task) pollSelect(n int32, r, w, e, timeout, mask abi.Addr) (uint64, abi.Errno) {
	deadline, errno := t.timeoutAt(timeout)
	if errno != 0 {
		return 0, errno
	}
	masked := false
	if mask != 0 {
		if errno := t.getStruct(mask, 16); errno != 0 {
			return 0, errno
		}
		set := abi.Addr(binary.LittleEndian.Uint64(t.scratch[:]))
		size := binary.LittleEndian.Uint64(t.scratch[8:])
		if set != 0 {
			if errno := t.pollMask(set, size); errno != 0 {
				return 0, errno
			}
			masked = true
		}
	}
	count, errno := t.selectSets(n, [3]abi.Addr{r, w, e}, deadline)
	if masked && errno != abi.EINTR {
		t.restoreMask()
	}
	t.putLeft(timeout, deadline)
	return count, errno
}

// selectSets waits for what the sets ask for, and writes back what they got.
func (t *Task) selectSets(n int32, at [3]abi.Addr, deadline int64) (uint64, abi.Errno) {
	if n < 0 {
		return 0, abi.EINVAL
	}
	// Linux looks no further than the table of descriptors goes.
	n = min(n, int32(len(*t.proc.files.slots.Load())))
	words := (int(n) + 63) / 64
	var sets [3][]uint64
	for i := range sets {
		sets[i] = make([]uint64, words)
		if errno := t.getWords(at[i], sets[i]); errno != 0 {
			return 0, errno
		}
		if n%64 != 0 {
			sets[i][words-1] &= 1<<(n%64) - 1
		}
	}
	asked := 0
	for w := range words {
		asked += bits.OnesCount64(sets[0][w] | sets[1][w] | sets[2][w])
	}
	entries := t.pollEntries(asked)
	defer unwatch(entries)
	fds := make([]int32, 0, asked)
	events := [3]uint32{selectRead, selectWrite, selectExcept}
	for w := range words {
		for left := sets[0][w] | sets[1][w] | sets[2][w]; left != 0; left &= left - 1 {
			bit := bits.TrailingZeros64(left)
			want := uint32(0)
			for i := range sets {
				if sets[i][w]>>bit&1 != 0 {
					want |= events[i]
				}
			}
			fd := int32(w*64 + bit)
			e := &entries[len(fds)]
			if !t.watch(e, fd, want) {
				return 0, abi.EBADF
			}
			// Unlike poll, select reports nothing that no set stands for.
			e.want = want
			fds = append(fds, fd)
		}
	}
	if _, errno := t.pollUntil(entries, 0, deadline); errno != 0 {
		return 0, errno
	}
	count := uint64(0)
	for i, fd := range fds {
		w, bit := fd/64, uint64(1)<<(fd%64)
		for s := range sets {
			if sets[s][w]&bit == 0 {
				continue
			}
			if entries[i].got&events[s] != 0 {
				count++
			} else {
				sets[s][w] &^= bit
			}
		}
	}
	for i := range sets {
		if errno := t.putWords(at[i], sets[i]); errno != 0 {
			return 0, errno
		}
	}
	return count, 0
}

// getWords reads a set from the guest; a null pointer is the empty one.
func (t *Task) getWords(a abi.Addr, set []uint64) abi.Errno {
	if a == 0 {
		return 0
	}
	b := make([]byte, 8*len(set))
	if guest.CopyIn(b, a) < len(b) {
		return abi.EFAULT
	}
	for i := range set {
		set[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return 0
}

// putWords writes a set to the guest, unless the pointer is null.
func (t *Task) putWords(a abi.Addr, set []uint64) abi.Errno {
	if a == 0 {
		return 0
	}
	b := make([]byte, 8*len(set))
	for i, w := range set {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	if guest.CopyOut(a, b) < len(b) {
		return abi.EFAULT
	}
	return 0
}
