package ext4

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// MapExtents implements vfs.Mapper. EOPNOTSUPP says that content does not lie on the device
// in whole pages (blocks smaller than a page that are not together), or what is on the device is
// not in the image file, so that it has to be copied instead.
func (n *inode) MapExtents(off, count int64) ([]vfs.Extent, abi.Errno) {
	if !n.isRegular() {
		return nil, abi.ENODEV
	}
	if off < 0 || count <= 0 || off%pageSize != 0 || count%pageSize != 0 || off > n.fs.maxSize()-count {
		return nil, abi.EINVAL
	}
	if n.fs.mapped == nil {
		return nil, abi.EOPNOTSUPP
	}
	n.mu.RLock()
	stores := n.pages.nstored > 0 // which nobody may have noticed yet
	n.mu.RUnlock()
	if stores || n.pages.unplaced() {
		if err := n.writeback(); err != nil {
			return nil, errno(err)
		}
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	n.isMapped.Store(true)
	var list []vfs.Extent
	add := func(e vfs.Extent) {
		if k := len(list); k > 0 {
			last := &list[k-1]
			if last.Home < 0 && e.Home < 0 || last.Home >= 0 && last.Home+last.Len == e.Home {
				last.Len += e.Len
				return
			}
		}
		list = append(list, e)
	}
	for count > 0 {
		r, err := n.mapRun(uint32(off >> n.fs.bsLog))
		if err != nil {
			return nil, errno(err)
		}
		e := vfs.Extent{Off: off, Home: -1, Len: min(int64(r.n)<<n.fs.bsLog, count)}
		if r.home != 0 && !r.unwritten() {
			e.Home = int64(r.home) << n.fs.bsLog
		}
		add(e)
		off += e.Len
		count -= e.Len
	}
	for _, e := range list {
		if e.Home >= 0 && !n.fs.pristine(e.Home, e.Len) {
			return nil, abi.EOPNOTSUPP
		}
		if e.Off%pageSize != 0 || e.Len%pageSize != 0 || e.Home > 0 && e.Home%pageSize != 0 {
			return nil, abi.EOPNOTSUPP
		}
	}
	return list, 0
}
