package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// packetList says which bytes of a pipe's content came in packets: by writes in packet mode (pipe(2), O_DIRECT). A
// read ends with the packet that it gets to, and what it leaves of that is lost. The zero packetList is empty.
type packetList struct {
	taken uint64 // bytes that have left the pipe since there was a packet first
	list  []packet
}

// packet is a packet's place, in bytes since packetList.taken was 0.
type packet struct{ from, to uint64 }

func (l *packetList) count() int { return len(l.list) }

// limit returns how much of n bytes a read gets, and how much is lost behind it.
func (l *packetList) limit(n int) (_, lost int) {
	if len(l.list) == 0 {
		return n, 0
	}
	first := l.list[0]
	if l.taken+uint64(n) <= first.from {
		return n, 0
	}
	left := int(first.to - l.taken)
	if n >= left {
		return left, 0
	}
	return n, left - n
}

// piece returns how much of n bytes from at on is of one kind: of one packet, or of none.
func (l *packetList) piece(at, n int) (_ int, packed bool) {
	place := l.taken + uint64(at)
	for _, p := range l.list {
		if p.to > place {
			if p.from > place {
				return int(min(uint64(n), p.from-place)), false
			}
			return int(min(uint64(n), p.to-place)), true
		}
	}
	return n, false
}

// drop notes that n bytes have left the pipe.
func (l *packetList) drop(n int) {
	if len(l.list) == 0 {
		return
	}
	l.taken += uint64(n)
	for len(l.list) > 0 && l.list[0].to <= l.taken {
		l.list = l.list[1:]
	}
	if len(l.list) == 0 {
		*l = packetList{list: l.list[:0]}
	}
}

// add notes a packet of size bytes behind n bytes of content.
func (l *packetList) add(n, size int) {
	from := l.taken + uint64(n)
	l.list = append(l.list, packet{from, from + uint64(size)})
}

// putPackets moves bytes from src, in packets of up to PIPE_BUF, as far as there is room for whole ones. Each has a
// page of the pipe's, however small it is. The caller holds mu.
func (p *pipe) putPackets(left int, src vfs.Source) (done int, errno abi.Errno) {
	for done < left && errno == 0 && p.packets.count() < p.cap/pageSize {
		size := min(left-done, abi.PIPE_BUF)
		if p.cap-p.n < size {
			break
		}
		before := p.n
		var n int
		n, errno = p.put(size, src, true)
		if n > 0 {
			p.packets.add(before, n)
		}
		done += n
	}
	return done, errno
}
