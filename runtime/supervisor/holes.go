package supervisor

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// holes finds out where a sparse image is written a little at a time with flushes in between, as a
// journal is, and gives the image blocks of the host there. Each flush after a write to a hole has the
// host commit its own journal, for the block that it has found: that costs more than the flush.
//
// Regions are filled with what they read as, so that no error in what the host says of holes can
// change content.
type holes struct {
	fd    int
	heat  []uint8  // by region: flushes that came after small writes to it, or solid. Nil: no holes, or none that matter
	fresh []uint32 // regions that were written to since the last flush
	next  uint32   // region behind the one that became solid last
	buf   []byte

	// writing is held by who writes the image past the serving goroutine, and while a region is filled.
	writing sync.Mutex
}

const (
	regionBytes = 1 << 20
	hot         = 4       // flushes after which a region is filled
	solid       = 255     // filled, or not to be
	smallWrite  = 1 << 18 // longer ones are worth what they cost
	freshMost   = 64
	fillSpace   = 1 << 30 // bytes that are left free on the host

	tmpfsMagic = 0x01021994
)

// init looks at the image, of which size bytes may be written.
func (h *holes) init(fd int, size uint64) {
	h.fd = fd
	var st unix.Stat_t
	var fs unix.Statfs_t
	if unix.Fstat(fd, &st) != nil || uint64(st.Blocks)*512 >= size || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	if unix.Fstatfs(fd, &fs) != nil || fs.Type == tmpfsMagic {
		return // flushes cost nothing there
	}
	h.heat = make([]uint8, size/regionBytes) // a shorter one at the end stays as it is
	h.fresh = make([]uint32, 0, freshMost)
}

// wrote notes a write of n bytes at off.
func (h *holes) wrote(off, n uint64) {
	if h.heat == nil || n >= smallWrite || len(h.fresh) == freshMost {
		return
	}
	r := off / regionBytes
	if r >= uint64(len(h.heat)) || h.heat[r] == solid {
		return
	}
	if k := len(h.fresh); k > 0 && h.fresh[k-1] == uint32(r) {
		return
	}
	h.fresh = append(h.fresh, uint32(r))
}

// flushing is called when a flush was asked for. No write is under way but under h.writing.
func (h *holes) flushing() {
	for _, r := range h.fresh {
		if h.heat[r] == solid {
			continue
		}
		if r == h.next {
			h.heat[r] = hot - 1 // what was written there goes on here
		}
		if h.heat[r]++; h.heat[r] >= hot {
			h.heat[r] = solid
			h.next = r + 1
			h.fill(int64(r) * regionBytes)
		}
	}
	h.fresh = h.fresh[:0]
}

// fill gives the region at off the blocks that it lacks, if it can.
func (h *holes) fill(off int64) {
	var fs unix.Statfs_t
	if unix.Fstatfs(h.fd, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < fillSpace {
		return
	}
	if h.buf == nil {
		h.buf = make([]byte, 64<<10)
	}
	h.writing.Lock()
	defer h.writing.Unlock()
	for end := off + regionBytes; off < end; {
		hole, err := unix.Seek(h.fd, off, unix.SEEK_HOLE)
		if err != nil || hole >= end {
			return
		}
		data, err := unix.Seek(h.fd, hole, unix.SEEK_DATA)
		if err == syscall.ENXIO { // there is none up to the end of the image
			data, err = end, nil
		}
		if err != nil {
			return
		}
		for off = hole; off < min(data, end); {
			p := h.buf[:min(int64(len(h.buf)), data-off, end-off)]
			n, err := unix.Pread(h.fd, p, off)
			if err != nil || n <= 0 || pwrite(h.fd, p[:n], uint64(off)) != 0 {
				return
			}
			off += int64(n)
		}
	}
}
