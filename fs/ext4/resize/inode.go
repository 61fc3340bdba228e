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

// mover moves what belongs to one inode.
type mover struct {
	f          *fs
	ino        uint32
	n          *disk.Inode
	seed       uint32
	renumbered bool // checksums of what belongs to the inode change with its number
	changed    bool
}

func (m *mover) bad(format string, args ...any) error {
	return &CorruptError{inodeName(m.ino), fmt.Sprintf(format, args...)}
}

// fileBlock is a run of a file's blocks.
type fileBlock struct {
	logical   uint64
	at        run
	unwritten bool
}

func (m *mover) move() error {
	if m.n.FileACL != 0 {
		if err := m.moveACL(); err != nil {
			return err
		}
	}
	switch uint32(m.n.Mode) & abi.S_IFMT {
	case abi.S_IFREG, abi.S_IFDIR:
	case abi.S_IFLNK:
		if m.n.Flags&disk.InodeExtents == 0 && m.sectors() == 0 {
			return nil // the target is in the inode
		}
	default:
		// The list of bad blocks has no type.
		if m.ino == disk.BadBlocksInode && m.sectors() != 0 {
			return fmt.Errorf("a file system with bad blocks %w", ErrUnsupported)
		}
		return nil
	}
	if m.n.Flags&(disk.InodeInline|disk.InodeEAInode) != 0 {
		return fmt.Errorf("%s has flags %#x: %w", inodeName(m.ino), m.n.Flags, ErrUnsupported)
	}
	var blocks []fileBlock
	var err error
	if m.n.Flags&disk.InodeExtents != 0 {
		blocks, err = m.moveExtents()
	} else {
		blocks, err = m.moveIndirect()
	}
	if err != nil {
		return err
	}
	switch {
	case isDir(m.n):
		return m.fixDirectory(blocks)
	case m.ino == m.f.orphanFile() && m.changed:
		return m.fixOrphanFile(blocks)
	case m.ino == m.f.sb.JournalInum && m.changed:
		m.f.backupJournal(m.n)
	}
	return nil
}

// orphanFile returns the number of the orphan file; 0 for none.
func (f *fs) orphanFile() uint32 {
	if !f.sb.HasCompat(disk.CompatOrphanFile) {
		return 0
	}
	return f.sb.OrphanFileInum
}

// sectors returns how many blocks the inode has, without that of its attributes, in its own unit.
func (m *mover) sectors() uint64 {
	acl := uint64(0)
	if m.n.FileACL != 0 {
		acl = m.unit()
	}
	return m.n.Blocks - min(acl, m.n.Blocks)
}

// unit returns by how much one block counts in the inode.
func (m *mover) unit() uint64 {
	if m.n.Flags&disk.InodeHugeFile != 0 && m.f.sb.HasROCompat(disk.ROCompatHugeFile) {
		return 1
	}
	return uint64(m.f.bs) / 512
}

// moveACL moves the block of attributes, once for all that share it.
func (m *mover) moveACL() error {
	f := m.f
	at := run{m.n.FileACL, 1}
	if to, ok := f.xattrs[at.start]; ok {
		m.n.FileACL, m.changed = to, true
		return nil
	}
	if !f.inside(at) {
		return m.bad("attributes at block %d", at.start)
	}
	if move, _ := f.mustMove(at); !move {
		return nil
	}
	p := make([]byte, f.bs)
	if err := f.readBlock(at.start, p); err != nil {
		return err
	}
	var h disk.XattrHeader
	h.Decode(p)
	if h.Magic != disk.XattrMagic {
		return m.bad("attributes at block %d are none", at.start)
	}
	to, err := f.alloc(1)
	if err != nil {
		return err
	}
	if f.csum {
		disk.SetXattrChecksum(f.seed, to.start, p)
	}
	if err := f.writeBlock(to.start, p); err != nil {
		return err
	}
	if h.Refcount > 1 {
		f.xattrs[at.start] = to.start
	}
	f.release(at)
	m.n.FileACL, m.changed = to.start, true
	return nil
}

// inside tells whether a run lies in the file system as it was, behind the start.
func (f *fs) inside(r run) bool { return r.start > f.old.first0 && f.old.valid(r) }

// relocate moves a run as far as it has to, and calls put for the pieces that come of it, in order. What it
// leaves is not freed: it is behind the end, or descriptors now.
func (f *fs) relocate(b fileBlock, put func(fileBlock)) error {
	for b.at.n > 0 {
		move, n := f.mustMove(b.at)
		if !move {
			put(fileBlock{b.logical, run{b.at.start, n}, b.unwritten})
			b.logical += n
			b.at = run{b.at.start + n, b.at.n - n}
			continue
		}
		for n > 0 {
			to, err := f.alloc(n)
			if err != nil {
				return err
			}
			if !b.unwritten {
				if err := f.copyRun(b.at.start, to.start, to.n); err != nil {
					return err
				}
			}
			put(fileBlock{b.logical, to, b.unwritten})
			b.logical += to.n
			b.at = run{b.at.start + to.n, b.at.n - to.n}
			n -= to.n
		}
	}
	return nil
}

// fixOrphanFile puts the checksums of the orphan file right, which know where its blocks are.
func (m *mover) fixOrphanFile(blocks []fileBlock) error {
	if !m.f.csum {
		return nil
	}
	p := make([]byte, m.f.bs)
	for _, b := range blocks {
		for i := range b.at.n {
			nr := b.at.start + i
			if err := m.f.readBlock(nr, p); err != nil {
				return err
			}
			disk.SetOrphanTail(m.seed, nr, p, true)
			if err := m.f.writeBlock(nr, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// backupJournal keeps in the superblock where the journal is.
func (f *fs) backupJournal(n *disk.Inode) {
	if f.sb.JnlBackupType != 1 {
		return
	}
	for i := range 15 {
		f.sb.JnlBlocks[i] = le.Uint32(n.Block[4*i:])
	}
	f.sb.JnlBlocks[15], f.sb.JnlBlocks[16] = uint32(n.Size>>32), uint32(n.Size)
}
