package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// Read implements vfs.Node.
func (n *inode) Read(off int64, count int, d vfs.Dest) (int, abi.Errno) {
	switch n.mode.Load() & abi.S_IFMT {
	case abi.S_IFREG:
	case abi.S_IFDIR:
		return 0, abi.EISDIR
	default:
		return 0, abi.EINVAL
	}
	if off < 0 {
		return 0, abi.EINVAL
	}
	if n.fs.mapped == nil {
		n.readIn(off, min(count, 4*chunkBytes))
	}
	n.mu.RLock()
	done, err := n.readLocked(off, count, d)
	n.mu.RUnlock()
	if n.atimeDue.Load() {
		n.accessed()
	}
	if done > 0 {
		return done, 0
	}
	return 0, errno(err)
}

// readLocked puts up to count bytes from off into d. The caller holds n.mu.
func (n *inode) readLocked(off int64, count int, d vfs.Dest) (int, error) {
	if off >= n.size {
		return 0, nil
	}
	if left := n.size - off; int64(count) > left {
		count = int(left)
	}
	done := 0
	cached := n.pages.count.Load() != 0
	for done < count {
		at := off + int64(done)
		want := count - done
		if cached {
			index := at >> pageShift
			if c, i := n.pages.page(index); c != nil {
				if !c.used.Load() {
					c.used.Store(true)
				}
				in := int(at & (pageSize - 1))
				p, _ := c.together(i, c.present&span(i, min(i+(in+want-1)>>pageShift, chunkPages-1)))
				k, e := d.Put(p[in:min(in+want, len(p))])
				done += k
				if e != 0 {
					return done, e
				}
				continue
			}
			want = n.pages.absent(at, want)
		}
		k, err := n.readDevice(at, want, d)
		done += k
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readDevice puts bytes from at on, up to want, from one run of the file.
func (n *inode) readDevice(at int64, want int, d vfs.Dest) (int, error) {
	fs := n.fs
	r, err := n.mapRun(uint32(at >> fs.bsLog))
	if err != nil {
		return 0, err
	}
	in := at & int64(fs.bs-1)
	if left := int64(r.n)<<fs.bsLog - in; int64(want) > left {
		want = int(left)
	}
	if r.home == 0 || r.unwritten() {
		k, e := d.Put(zeros[:min(want, len(zeros))])
		return k, asError(e)
	}
	pos := int64(r.home)<<fs.bsLog + in
	if fs.mapped != nil {
		k, e := d.Put(fs.mapped.Bytes(pos, want))
		return k, asError(e)
	}
	buf := fs.bounce()
	defer fs.unbounce(buf)
	p := buf[:min(want, len(buf))]
	if err := fs.dev.ReadAt(p, pos); err != nil {
		return 0, err
	}
	k, e := d.Put(p)
	return k, asError(e)
}

// asError turns 0 into nil.
func asError(e abi.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// bounce returns memory to read content through, for devices that are not mapped.
func (fs *FS) bounce() []byte {
	if b, ok := fs.bounces.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (fs *FS) unbounce(b []byte) { fs.bounces.Put(&b) }

const day = 24 * 60 * 60

// atimeIsOld tells whether relatime wants the access time to be brought up to date.
func atimeIsOld(d *disk.Inode, now int64) bool {
	newer := func(a, b disk.Time) bool { return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec >= b.Nsec }
	return newer(d.Mtime, d.Atime) || newer(d.Ctime, d.Atime) || now-d.Atime.Sec > day
}

// accessed brings the access time up to date.
func (n *inode) accessed() {
	n.atimeDue.Store(false)
	if n.fs.opts.NoAtime {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.d.Flags&disk.InodeNoAtime != 0 {
		return
	}
	h, err := n.fs.begin(1)
	if err != nil {
		return
	}
	defer h.end()
	if h.inode(n) == nil {
		n.d.Atime = disk.ClampTime(n.fs.now(), n.extraTime())
	}
}
