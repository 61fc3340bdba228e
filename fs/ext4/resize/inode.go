package resize

import (
	"fmt"
	"slices"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// inodeMap says which inodes have new numbers: sorted by the old ones.
type inodeMap struct{ old, new []uint32 }

// number returns what an inode is called now.
func (m *inodeMap) number(ino uint32) uint32 {
	if i, ok := slices.BinarySearch(m.old, ino); ok {
		return m.new[i]
	}
	return ino
}

// inodeAt returns where an inode is on the device.
func (f *fs) inodeAt(ino uint32) int64 {
	g, i := uint64(ino-1)/uint64(f.sb.InodesPerGroup), int64(ino-1)%int64(f.sb.InodesPerGroup)
	return int64(f.groups[g].desc.InodeTable)*f.bs + i*int64(f.sb.InodeSize)
}

// eachInode calls do for each inode in use of groups from lo to before hi; raw is only valid meanwhile, and
// changes of it are not kept.
func (f *fs) eachInode(lo, hi uint64, do func(ino uint32, raw []byte) error) error {
	size := int64(f.sb.InodeSize)
	perGroup := int64(f.sb.InodesPerGroup)
	buf := make([]byte, min(64*f.bs, int64(f.tableLen())*f.bs))
	for g := lo; g < hi; g++ {
		gr := &f.groups[g]
		if gr.inodes == nil {
			continue
		}
		count := perGroup - int64(gr.desc.ItableUnused)
		have := int64(-1) // first inode in buf
		for i := range count {
			if err := f.step(1); err != nil {
				return err
			}
			if !bit(gr.inodes, uint64(i)) {
				continue
			}
			in := int64(len(buf)) / size
			if start := i / in * in; start != have {
				n := min(in, perGroup-start) * size
				if err := f.dev.ReadAt(buf[:n], int64(gr.desc.InodeTable)*f.bs+start*size); err != nil {
					return fmt.Errorf("inode table of group %d: %w", g, err)
				}
				have = start
			}
			ino := uint32(int64(g)*perGroup + i + 1)
			raw := buf[(i-have)*size:][:size]
			if f.csum {
				var n disk.Inode
				n.Decode(raw)
				sum := disk.InodeChecksum(disk.InodeSeed(f.seed, ino, n.Generation), raw)
				if !f.noInode(ino, &n, raw) && sum != n.Checksum && uint16(sum) != uint16(n.Checksum) {
					return &CorruptError{inodeName(ino), "wrong checksum"}
				}
			}
			if err := do(ino, raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// noInode tells of a reserved inode that was never used: its table entry may be all zeros.
func (f *fs) noInode(ino uint32, n *disk.Inode, raw []byte) bool {
	return ino < f.sb.FirstIno && n.Mode == 0 && n.Links == 0
}

func inodeName(ino uint32) string { return fmt.Sprintf("inode %d", ino) }

// moveInodes moves inodes of groups that go away to others, as they are; blocks and names follow later.
func (f *fs) moveInodes() error {
	if f.new.groups >= f.old.groups {
		return nil
	}
	next := uint64(0)
	var vecs []blockdev.Vec
	flush := func() error {
		err := f.dev.WriteV(vecs)
		vecs = vecs[:0]
		return err
	}
	err := f.eachInode(f.new.groups, f.old.groups, func(ino uint32, raw []byte) error {
		to, err := f.allocInode(&next, raw)
		if err != nil {
			return err
		}
		f.inodes.old, f.inodes.new = append(f.inodes.old, ino), append(f.inodes.new, to)
		// Sectors at a time is what a device takes: inodes may be smaller.
		at := f.inodeAt(to)
		sector := at &^ 511
		p := make([]byte, max(512, len(raw)))
		if len(raw) < 512 {
			if len(vecs) > 0 {
				if err := flush(); err != nil { // it may be the same sector
					return err
				}
			}
			if err := f.dev.ReadAt(p, sector); err != nil {
				return err
			}
		}
		moved := p[at-sector:][:len(raw)]
		copy(moved, raw)
		f.sealInode(to, moved)
		vecs = append(vecs, blockdev.Vec{Off: sector, Data: p})
		if len(vecs) >= 256 {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// sealInode puts the checksum of an encoded inode right.
func (f *fs) sealInode(ino uint32, raw []byte) {
	if !f.csum {
		return
	}
	var n disk.Inode
	n.Decode(raw)
	disk.SetInodeChecksum(disk.InodeSeed(f.seed, ino, n.Generation), raw)
}

// allocInode takes the lowest free inode from *next on, counted from 0. Inodes of a table that was not
// cleared are taken in order, so that none is left between that holds rubbish.
func (f *fs) allocInode(next *uint64, raw []byte) (uint32, error) {
	per := uint64(f.sb.InodesPerGroup)
	for *next < f.new.groups*per {
		g, i := *next/per, *next%per
		gr := &f.groups[g]
		if gr.desc.FreeInodes == 0 {
			*next = (g + 1) * per
			continue
		}
		p := f.inodeBitmap(g)
		*next++
		ino := uint32(*next)
		if bit(p, i) || ino < f.sb.FirstIno {
			continue
		}
		setBit(p, i)
		gr.desc.FreeInodes--
		if unused := uint32(per - i - 1); f.gsum && unused < gr.desc.ItableUnused {
			gr.desc.ItableUnused = unused
		}
		var n disk.Inode
		n.Decode(raw)
		if isDir(&n) {
			gr.desc.UsedDirs++
		}
		return ino, nil
	}
	return 0, fmt.Errorf("%w: there are more of them than inodes", ErrNoRoom)
}

func isDir(n *disk.Inode) bool { return uint32(n.Mode)&abi.S_IFMT == abi.S_IFDIR }

// moveFiles moves the blocks of all files that have to move, and puts new inode numbers into directories.
func (f *fs) moveFiles() error {
	return f.eachInode(0, f.new.groups, func(ino uint32, raw []byte) error {
		var n disk.Inode
		n.Decode(raw)
		if n.Mode == 0 && n.Links == 0 || ino == disk.ResizeInode {
			return nil
		}
		if int(n.ExtraIsize)+disk.GoodOldInodeSize > len(raw) && len(raw) > disk.GoodOldInodeSize {
			return &CorruptError{inodeName(ino), "is too small for its own fields"}
		}
		m := mover{f: f, ino: ino, n: &n, seed: disk.InodeSeed(f.seed, ino, n.Generation)}
		_, m.renumbered = slices.BinarySearch(f.inodes.byNew(), ino)
		if err := m.move(); err != nil {
			return err
		}
		if !m.changed {
			return nil
		}
		raw = slices.Clone(raw)
		n.Encode(raw)
		if f.csum {
			disk.SetInodeChecksum(m.seed, raw)
		}
		return f.writeInode(ino, raw)
	})
}

// byNew returns the new numbers, sorted.
func (m *inodeMap) byNew() []uint32 {
	if !slices.IsSorted(m.new) {
		panic("resize: inodes are not given out in order")
	}
	return m.new
}

// writeInode writes one inode.
func (f *fs) writeInode(ino uint32, raw []byte) error {
	at := f.inodeAt(ino)
	if len(raw) >= 512 {
		return f.dev.WriteV([]blockdev.Vec{{Off: at, Data: raw}})
	}
	sector := at &^ 511
	var p [512]byte
	if err := f.dev.ReadAt(p[:], sector); err != nil {
		return err
	}
	copy(p[at-sector:], raw)
	return f.dev.WriteV([]blockdev.Vec{{Off: sector, Data: p[:]}})
}
