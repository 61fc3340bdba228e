package resize

import (
	"slices"

	"pinhole/fs/ext4/disk"
)

// fixDirectory puts new inode numbers into a directory, and checksums that know its own number.
func (m *mover) fixDirectory(blocks []fileBlock) error {
	f := m.f
	if len(f.inodes.old) == 0 {
		return nil
	}
	p := make([]byte, f.bs)
	for _, b := range blocks {
		if b.unwritten {
			continue
		}
		for i := range b.at.n {
			nr := b.at.start + i
			if err := f.readBlock(nr, p); err != nil {
				return err
			}
			changed, err := m.fixNames(p, b.logical+i)
			if err != nil {
				return err
			}
			if !changed && !m.renumbered {
				continue
			}
			if f.csum {
				if err := m.sealDirBlock(p, b.logical+i); err != nil {
					return err
				}
			}
			if err := f.writeBlock(nr, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// fixNames replaces inode numbers in a block of names. Nodes of a hash tree look like one with no names.
func (m *mover) fixNames(p []byte, logical uint64) (changed bool, err error) {
	for off := 0; off < len(p); {
		if off+disk.DirentHeader > len(p) {
			return false, m.bad("block %d of the directory has no room for a name at its end", logical)
		}
		var d disk.Dirent
		d.Decode(p[off:])
		if d.RecLen < disk.DirentHeader || d.RecLen%4 != 0 || off+d.RecLen > len(p) {
			return false, m.bad("block %d of the directory has a name of length %d at %d", logical, d.RecLen, off)
		}
		if to := m.f.inodes.number(d.Ino); d.Ino != 0 && to != d.Ino {
			d.Ino = to
			le.PutUint32(p[off:], to)
			changed = true
		}
		off += d.RecLen
	}
	return changed, nil
}

// sealDirBlock puts the checksum of a directory's block right.
func (m *mover) sealDirBlock(p []byte, logical uint64) error {
	if disk.HasDirTail(p) {
		disk.SetDirChecksum(m.seed, p)
		return nil
	}
	if m.n.Flags&disk.InodeIndex == 0 {
		return m.bad("block %d of the directory has no checksum", logical)
	}
	off := disk.HtreeNodeOffset
	if logical == 0 {
		off = disk.HtreeRootOffset
	}
	e := disk.HtreeEntries(p[off:])
	limit, count := e.Limit(), e.Count()
	if count > limit || off+limit*disk.HtreeEntrySize+disk.HtreeTailSize > len(p) {
		return m.bad("block %d of the directory is no node: %d of %d entries", logical, count, limit)
	}
	disk.SetHtreeChecksum(m.seed, p, off, limit, count)
	return nil
}

// before returns the number that an inode had.
func (m *inodeMap) before(ino uint32) uint32 {
	if i, ok := slices.BinarySearch(m.byNew(), ino); ok {
		return m.old[i]
	}
	return ino
}
