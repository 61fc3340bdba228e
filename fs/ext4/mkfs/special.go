package mkfs

import (
	"fmt"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

const (
	minJournal   = 1024       // blocks
	maxJournal   = 10_240_000 // blocks
	needJournal  = 2048       // blocks of a file system from which on there is a journal
	minOrphans   = 32         // blocks
	maxOrphans   = 512
	orphansShare = 4096 // blocks of the file system for each of the orphan file
)

// journalBlocks returns the size of the journal of a file system of n blocks, as mke2fs does.
func journalBlocks(n int64) int64 {
	for _, s := range [...]struct{ below, size int64 }{
		{needJournal, 0}, {32 << 10, 1024}, {256 << 10, 4096}, {512 << 10, 8192}, {4 << 20, 16384},
		{8 << 20, 32768}, {16 << 20, 65536}, {32 << 20, 131072},
	} {
		if n < s.below {
			return s.size
		}
	}
	return 262144
}

// journal makes the journal's inode and superblock.
func (b *builder) journal() error {
	size := journalBlocks(int64(b.sb.BlocksCount))
	if b.o.JournalSize != 0 {
		size = b.o.JournalSize / b.bs
		if most := min(maxJournal, int64(b.sb.BlocksCount)/2); size < minJournal || size > most {
			return fmt.Errorf("a journal of %d bytes: here it must have from %d to %d", b.o.JournalSize, minJournal*b.bs, most*b.bs)
		}
	}
	if b.o.NoJournal || size == 0 {
		return nil
	}
	runs, err := b.allocWhole(size)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	n := b.newNode(disk.JournalInode, nil, abi.S_IFREG|0o600, b.o.Time)
	n.inode.Size = uint64(size * b.bs)
	if err := b.extents(n, runs); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	js := disk.JournalSuper{
		Header:    disk.JournalHeader{Magic: disk.JournalMagic, Type: disk.JournalSuperV2},
		BlockSize: uint32(b.bs), MaxLen: uint32(size), First: 1, Sequence: 1,
		UUID: b.o.UUID, Users: 1,
	}
	n.content = make([]byte, b.bs)
	js.Encode(n.content)
	n.runs = []run{{runs[0].start, 1}}

	s := &b.sb
	s.FeatureCompat |= disk.CompatHasJournal
	s.JournalInum = disk.JournalInode
	s.JnlBackupType = 1
	for i := range disk.BlockAreaSize / 4 {
		s.JnlBlocks[i] = le.Uint32(n.inode.Block[4*i:])
	}
	s.JnlBlocks[15], s.JnlBlocks[16] = uint32(n.inode.Size>>32), uint32(n.inode.Size)
	s.OverheadBlocks += uint32(size)

	// What is zeroed is from the first block of the log on.
	written := size
	if b.o.ZeroJournal >= 0 {
		written = min(size, ceilDiv(b.o.ZeroJournal, b.bs))
	}
	skip := int64(1)
	for _, r := range runs {
		r.start, r.n = r.start+skip, r.n-skip
		skip = 0
		k := max(0, min(r.n, written))
		b.always = append(b.always, run{r.start, k})
		b.zero = append(b.zero, run{r.start + k, r.n - k})
		written -= k
	}
	return nil
}

// orphanFile makes the file that lists inodes without names, empty.
func (b *builder) orphanFile(ino uint32) error {
	n := b.newNode(ino, nil, abi.S_IFREG|0o600, b.o.Time)
	size := min(max(int64(b.sb.BlocksCount)/orphansShare, minOrphans), maxOrphans)
	runs, err := b.allocWhole(size)
	if err != nil {
		return fmt.Errorf("orphan file: %w", err)
	}
	n.runs = runs
	n.inode.Size = uint64(size * b.bs)
	n.content = make([]byte, size*b.bs)
	seed := disk.InodeSeed(b.seed, ino, 0)
	p := n.content
	for _, r := range runs {
		for i := range r.n {
			disk.SetOrphanTail(seed, uint64(r.start+i), p[:b.bs], true)
			p = p[b.bs:]
		}
	}
	b.sb.FeatureCompat |= disk.CompatOrphanFile
	b.sb.OrphanFileInum = ino
	return b.extents(n, runs)
}

// resizeInode makes the file that holds the blocks that are kept for more descriptors: behind its
// double indirect block, those of group 0 are indirect blocks of those at the same place in the
// groups with copies.
func (b *builder) resizeInode() error {
	if b.o.NoResize {
		return nil
	}
	n := b.newNode(disk.ResizeInode, nil, abi.S_IFREG|0o600, b.o.Time)
	runs, err := b.alloc(1)
	if err != nil {
		return err
	}
	dind := make([]byte, b.bs)
	per := b.bs / 4
	n.tree = append(n.tree, treeBlock{runs[0].start, dind})
	blocks := int64(1)
	for i := range b.reserved {
		at := b.first(0) + 1 + b.gdtLen + i
		le.PutUint32(dind[(b.gdtLen+i)%per*4:], uint32(at))
		ind := make([]byte, b.bs)
		k := 0
		for g := int64(1); g < b.groups; g++ {
			if b.sb.HasSuper(uint32(g)) {
				le.PutUint32(ind[4*k:], uint32(at+g*b.perGroup))
				k++
			}
		}
		n.tree = append(n.tree, treeBlock{at, ind})
		blocks += 1 + int64(k)
	}
	le.PutUint32(n.inode.Block[4*(disk.DirectBlocks+1):], uint32(runs[0].start))
	n.inode.Blocks = uint64(blocks * b.bs / 512)
	n.inode.Size = uint64((disk.DirectBlocks + per + per*per) * b.bs)
	return nil
}
