package resize

import (
	"fmt"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

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
