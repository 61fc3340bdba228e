package check

import (
	"bytes"
	"fmt"

	"pinhole/fs/ext4/disk"
)

// File types in i_mode; fs/abi's names are for open file systems.
const (
	modeType = 0xf000
	modeFifo = 0x1000
	modeChr  = 0x2000
	modeDir  = 0x4000
	modeBlk  = 0x6000
	modeReg  = 0x8000
	modeLnk  = 0xa000
	modeSock = 0xc000
)

var typeOf = map[uint16]inodeKind{
	modeFifo: disk.TypeFifo, modeChr: disk.TypeChr, modeDir: disk.TypeDir, modeBlk: disk.TypeBlk,
	modeReg: disk.TypeReg, modeLnk: disk.TypeLnk, modeSock: disk.TypeSock,
}

// Fields of an inode that disk.Inode does not have, and a flag that only old systems set.
const (
	offFaddr        = 0x70
	offSizeHigh     = 0x6c
	offACLHigh      = 0x76
	offBlocksHigh   = 0x74
	offChecksumLow  = 0x7c
	offChecksumHigh = 0x82
	inodeImagic     = 0x2000
)

const tableChunk = 256 << 10 // bytes of an inode table that are read at once

// scanInodes is pass 1.
func (c *checker) scanInodes() error {
	buf := make([]byte, max(tableChunk, c.bs))
	for g := range c.groups {
		if err := c.tick(int64(g), int64(len(c.groups))); err != nil {
			return err
		}
		err := c.eachInode(g, buf, c.inode)
		if err != nil {
			return err
		}
	}
	if p, i := c.table.at(disk.RootInode, true); p.kind[i]&kindType == 0 {
		return c.add(inInode(InodeRoot, disk.RootInode), "there is no root directory")
	}
	return nil
}

// eachInode calls f for the inodes of group g that may be in use.
func (c *checker) eachInode(g int, buf []byte, f func(ino uint32, raw []byte) error) error {
	d := &c.groups[g]
	n := c.perTable - d.ItableUnused
	if d.tableBad || d.Flags&disk.GroupInodeUninit != 0 {
		n = 0
	}
	perBlock := uint32(c.bs / c.isize)
	block := d.InodeTable
	for i := uint32(0); i < n; {
		blocks := min(uint64(len(buf)/c.bs), uint64((n-i+perBlock-1)/perBlock))
		p := buf[:blocks<<c.bits]
		if err := c.read(p, block); err != nil {
			return err
		}
		block += blocks
		for ; len(p) > 0 && i < n; i++ {
			if err := f(uint32(g)*c.perTable+i+1, p[:c.isize]); err != nil {
				return err
			}
			p = p[c.isize:]
		}
		if err := c.o.Context.Err(); err != nil {
			return c.tick(0, 0)
		}
	}
	return nil
}

var zeros [65536]byte

func allZero(p []byte) bool {
	for len(p) > len(zeros) {
		if !bytes.Equal(p[:len(zeros)], zeros[:]) {
			return false
		}
		p = p[len(zeros):]
	}
	return bytes.Equal(p, zeros[:len(p)])
}

// inode checks one inode.
func (c *checker) inode(ino uint32, raw []byte) error {
	empty := allZero(raw)
	if empty && ino >= c.sb.FirstIno {
		return nil
	}
	var n disk.Inode
	n.Decode(raw)
	if c.csum && !empty {
		want := disk.InodeChecksum(c.inodeSeed(ino, n.Generation), raw)
		have := uint32(le.Uint16(raw[offChecksumLow:]))
		if c.isize > disk.GoodOldInodeSize && n.ExtraIsize >= 4 {
			have |= uint32(le.Uint16(raw[offChecksumHigh:])) << 16
		}
		if want != have {
			if err := c.add(inInode(InodeChecksum, ino), "the inode's checksum is %#08x, should be %#08x", have, want); err != nil {
				return err
			}
		}
	}
	known := c.table.kind(ino)
	orphan := known&kindOrphan != 0
	if n.Dtime != 0 && c.lowDtime && n.Dtime < c.inodes && !orphan {
		if err := c.add(inInode(InodeDtime, ino), "the deletion time is %d: the inode was in the list of orphans", n.Dtime); err != nil {
			return err
		}
	}
	if n.Links == 0 && ino >= c.sb.FirstIno && !orphan {
		if n.Dtime == 0 && n.Mode != 0 {
			return c.add(inInode(InodeDtime, ino), "it is deleted, but has no deletion time")
		}
		return nil
	}
	if err := c.inodeFlags(ino, &n); err != nil {
		return err
	}
	switch {
	case ino == disk.BadBlocksInode:
		return c.badBlocks(raw, &n)
	case ino == disk.RootInode:
		if n.Mode&modeType != modeDir {
			if err := c.add(inInode(InodeRoot, ino), "the root is not a directory, but of mode %#o", n.Mode); err != nil {
				return err
			}
		}
		if n.Links == 0 {
			return nil
		}
	case ino == c.sb.JournalInum && c.hasCompat(disk.CompatHasJournal),
		ino == c.sb.OrphanFileInum && c.hasCompat(disk.CompatOrphanFile):
		c.table.set(ino, disk.TypeReg|kindReserved, n.Links)
		if n.Mode&modeType != modeReg {
			if err := c.add(inInode(InodeMode, ino), "it is used by the file system, but not a regular file: mode %#o", n.Mode); err != nil {
				return err
			}
		}
		return c.inodeBlocks(ino, raw, &n)
	case ino < c.sb.FirstIno:
		return c.reservedInode(ino, raw, &n)
	}
	if n.Dtime != 0 && n.Links != 0 && !orphan {
		if err := c.add(inInode(InodeDtime, ino), "it is in use, but has a deletion time"); err != nil {
			return err
		}
	}
	if err := c.inodeFields(ino, raw, &n); err != nil {
		return err
	}
	if err := c.inodeXattrs(ino, raw, &n); err != nil {
		return err
	}
	kind, err := c.inodeType(ino, &n)
	if err != nil {
		return err
	}
	c.table.set(ino, kind, n.Links)
	switch kind {
	case disk.TypeDir:
		c.r.Directories++
		c.dirs = append(c.dirs, dirInfo{ino: ino, run: uint32(len(c.runs)), seed: c.inodeSeed(ino, n.Generation)})
	default:
		c.r.Files++
	}
	return c.inodeBlocks(ino, raw, &n)
}

// inodeFlags checks flags that need a feature, or that contradict the content.
func (c *checker) inodeFlags(ino uint32, n *disk.Inode) error {
	wrong := ""
	var h disk.ExtentHeader
	h.Decode(n.Block[:])
	header := headerOK(&h, len(n.Block))
	type_ := n.Mode & modeType
	switch {
	case n.Flags&disk.InodeCasefold != 0:
		wrong = "names without case, but the file system has none"
	case n.Flags&disk.InodeInline != 0 && ino >= c.sb.FirstIno:
		wrong = "content in the inode, but the file system has none"
	case n.Flags&disk.InodeEncrypt != 0 && (ino >= c.sb.FirstIno || ino == disk.RootInode):
		wrong = "encrypted, but the file system is not"
	case n.Flags&disk.InodeExtents != 0 && !c.hasIncompat(disk.IncompatExtents):
		wrong = "extents, but the file system has none"
	case n.Flags&disk.InodeExtents == 0 && c.hasIncompat(disk.IncompatExtents) && header && (type_ == modeReg || type_ == modeDir):
		wrong = "no extents, but there is an extent tree"
	case n.Flags&inodeImagic != 0 && ino >= c.sb.FirstIno:
		wrong = "AFS, but the file system is not"
	default:
		return nil
	}
	return c.add(inInode(InodeFlags, ino), "the flags %#x say %s", n.Flags, wrong)
}

// inodeFields checks fields that have to be zero.
func (c *checker) inodeFields(ino uint32, raw []byte, n *disk.Inode) error {
	for _, f := range [...]struct {
		wrong bool
		name  string
	}{
		{le.Uint32(raw[offFaddr:]) != 0, "i_faddr"},
		{n.Mode&modeType == modeDir && le.Uint32(raw[offSizeHigh:]) != 0 && !c.hasIncompat(disk.IncompatLargeDir), "i_size_high of a directory"},
		{!c.hasIncompat(disk.Incompat64Bit) && le.Uint16(raw[offACLHigh:]) != 0 && c.sb.CreatorOS != osHurd, "i_file_acl_high"},
		{!c.hasROCompat(disk.ROCompatHugeFile) && le.Uint16(raw[offBlocksHigh:]) != 0 && c.sb.CreatorOS != osHurd, "i_blocks_high"},
	} {
		if f.wrong {
			if err := c.add(inInode(InodeField, ino), "%s is not zero", f.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// inodeType checks what is particular to the file's type.
func (c *checker) inodeType(ino uint32, n *disk.Inode) (inodeKind, error) {
	kind := typeOf[n.Mode&modeType]
	fixed := n.Flags & (disk.InodeImmutable | disk.InodeAppend)
	switch kind {
	case 0:
		return kindBad, c.add(inInode(InodeMode, ino), "there is no file type of mode %#o", n.Mode)
	case disk.TypeReg, disk.TypeDir:
		return kind, nil
	case disk.TypeLnk:
		if n.Flags&disk.InodeExtents != 0 && !hasMap(n) {
			if err := c.add(inInode(InodeFlags, ino), "a symbolic link in the inode has a flag for extents"); err != nil {
				return 0, err
			}
		}
		ok, err := c.symlink(ino, n)
		if err != nil {
			return 0, err
		}
		if !ok {
			return kind, c.add(inInode(InodeSymlink, ino), "a symbolic link's target is not of its size, %d bytes, or not where it should be", n.Size)
		}
		if fixed != 0 {
			return kind, c.add(inInode(InodeFlags, ino), "a symbolic link has flags for immutable or append-only content")
		}
		return kind, nil
	}
	// Devices, FIFOs and sockets have no content.
	why := ""
	switch {
	case n.Flags&(disk.InodeIndex|disk.InodeExtents|disk.InodeInline) != 0:
		why = fmt.Sprintf("flags %#x", n.Flags)
	case fixed != 0:
		why = "flags for immutable or append-only content"
	case n.Size != 0:
		why = fmt.Sprintf("a size of %d bytes", n.Size)
	default:
		return kind, nil
	}
	return kind, c.add(inInode(InodeDevice, ino), "a device, FIFO or socket has %s", why)
}

// symlink tells whether a symbolic link has a target of its size.
func (c *checker) symlink(ino uint32, n *disk.Inode) (bool, error) {
	if n.Size == 0 || n.Size > uint64(c.bs) || n.Flags&disk.InodeIndex != 0 {
		return false, nil
	}
	p := n.Block[:]
	if n.Size < disk.BlockAreaSize {
		if n.Flags&disk.InodeExtents != 0 {
			return false, nil
		}
	} else {
		runs, ok, err := c.fileRuns(ino, n, 2)
		if err != nil || !ok || len(runs) != 1 || runs[0].logical != 0 || runs[0].n != 1 {
			return false, err
		}
		p = c.block
		if err := c.read(p, runs[0].block); err != nil {
			return false, err
		}
	}
	return bytes.IndexByte(p, 0) == int(n.Size), nil
}

// reservedInode checks one of the first inodes, which have no names.
func (c *checker) reservedInode(ino uint32, raw []byte, n *disk.Inode) error {
	c.table.set(ino, kindReserved, n.Links)
	type_ := n.Mode & modeType
	wrong := false
	switch ino {
	case disk.JournalInode, disk.UserQuotaInode, disk.GrpQuotaInode:
		wrong = n.Links != 0 || uint32(n.Blocks) != 0 || le.Uint32(n.Block[:]) != 0
	case disk.BootLoadInode:
		wrong = type_ == modeDir
	case disk.ResizeInode:
		wrong = n.Mode != 0 && type_ != modeReg
	default:
		wrong = n.Mode != 0
	}
	if wrong {
		if err := c.add(inInode(InodeReserved, ino), "it is for the file system's own use, but holds something else"); err != nil {
			return err
		}
	}
	switch ino {
	case disk.JournalInode, disk.UserQuotaInode, disk.GrpQuotaInode:
		if n.Links == 0 {
			return nil
		}
	}
	return c.inodeBlocks(ino, raw, n)
}

// badBlocks checks the list of bad blocks, which count as in use.
func (c *checker) badBlocks(raw []byte, n *disk.Inode) error {
	c.table.set(disk.BadBlocksInode, kindReserved, n.Links)
	if n.Mode != 0 || n.UID != 0 || n.GID != 0 || n.Links != 0 || n.FileACL != 0 || n.Flags&disk.InodeInline != 0 {
		if err := c.add(inInode(InodeReserved, disk.BadBlocksInode), "the list of bad blocks looks like a file"); err != nil {
			return err
		}
	}
	m := fileMap{c: c, ino: disk.BadBlocksInode, inode: n, seed: c.inodeSeed(disk.BadBlocksInode, n.Generation)}
	take := func(b, k uint64) (again bool, err error) {
		c.used.add(b-c.first, k, func(i, n uint64) {
			if again = true; err == nil {
				err = c.add(inInode(BlockMetadata, disk.BadBlocksInode).onBlock(i+c.first), "%d blocks are in the list of bad blocks, and in use by the file system itself", n)
			}
		})
		return again, err
	}
	m.node = func(b uint64) (bool, error) {
		again, err := take(b, 1)
		return !again, err
	}
	m.data = func(_, k, b uint64, _ bool) error {
		_, err := take(b, k)
		return err
	}
	return m.walk()
}

// claim takes blocks for an inode, and tells whether some were taken before. It gives up if that
// happens too often: marking them takes time, and each is a problem in pass 1b.
func (c *checker) claim(b, n uint64) (again bool, err error) {
	c.used.add(b-c.first, n, func(i, k uint64) {
		again = true
		c.shared.add(i, k, func(uint64, uint64) {})
	})
	if again {
		if c.overlaps++; c.overlaps > maxProblems {
			err = c.add(at(TooMany).as(Fatal), "gave up: blocks are claimed more than once %d times", maxProblems)
		}
	}
	return again, err
}
