package check

import (
	"pinhole/fs/ext4/disk"
	"pinhole/fs/ext4/jbd2"
)

const minJournal = 1024 // blocks

const knownJournalIncompat = disk.JournalIncompatRevoke | disk.JournalIncompat64Bit | disk.JournalIncompatAsyncCommit |
	disk.JournalIncompatCsumV2 | disk.JournalIncompatCsumV3 | disk.JournalIncompatFastCommit

// journal checks the journal, and replays it in memory if that is asked for.
func (c *checker) journal() error {
	s := &c.sb
	if !c.hasCompat(disk.CompatHasJournal) {
		switch {
		case s.JournalUUID != [16]byte{}:
			return c.add(at(JournalInode), "the superblock names a journal outside of the file system, but the file system has none")
		case c.hasIncompat(disk.IncompatRecover):
			return c.add(at(JournalInode), "the journal has to be replayed, but there is none")
		case s.JournalInum != 0:
			return c.add(at(JournalInode), "the superblock names inode %d as the journal, but the file system has none", s.JournalInum)
		}
		return nil
	}
	if s.JournalInum == 0 || s.JournalInum > c.inodes {
		return c.add(at(JournalInode), "the journal is not in the file system (inode %d, device %#x)", s.JournalInum, s.JournalDev)
	}
	if s.JournalDev != 0 || s.JournalUUID != [16]byte{} {
		if err := c.add(at(JournalInode), "the superblock names a journal in inode %d, and another outside of the file system", s.JournalInum); err != nil {
			return err
		}
	}
	runs, err := c.journalFile()
	if err != nil || runs == nil {
		return err
	}
	js, ok, err := c.journalSuper(runs)
	if err != nil || !ok {
		return err
	}
	if !c.r.NeedsRecovery {
		if js.Start != 0 {
			return c.add(inInode(JournalSuper, s.JournalInum), "the journal is in use, but the superblock says it need not be replayed")
		}
		return nil
	}
	if err := c.add(at(JournalPending).as(Note), "it was not unmounted: the journal is replayed at the next mount"); err != nil {
		return err
	}
	if !c.o.Replay {
		return nil
	}
	return c.replay(runs)
}

// journalFile returns where the journal is; nil if it is not usable.
func (c *checker) journalFile() ([]fileRun, error) {
	ino := c.sb.JournalInum
	prob := inInode(JournalInode, ino)
	raw, n, err := c.readInode(ino)
	if err != nil || raw == nil {
		return nil, err
	}
	if n.Links == 0 || n.Mode&modeType != modeReg {
		return nil, c.add(prob, "the journal is not a regular file: mode %#o, %d links", n.Mode, n.Links)
	}
	size := n.Size >> c.bits
	if size < minJournal {
		return nil, c.add(prob, "the journal has %d blocks, must have %d", size, minJournal)
	}
	const maxRuns = 1 << 16
	runs, ok, err := c.fileRuns(ino, &n, maxRuns)
	if err != nil {
		return nil, err
	}
	next := uint64(0)
	for _, r := range runs {
		ok = ok && r.logical == next
		next = r.logical + r.n
	}
	if !ok || next<<c.bits < n.Size {
		return nil, c.add(prob, "the journal has a hole, or a block more than once")
	}
	return runs, nil
}

// journalSuper checks the journal's superblock; ok is false if the journal is of no use.
func (c *checker) journalSuper(runs []fileRun) (s disk.JournalSuper, ok bool, err error) {
	if err := c.read(c.block, runs[0].block); err != nil {
		return s, false, err
	}
	s.Decode(c.block)
	last := runs[len(runs)-1]
	size := last.logical + last.n
	prob := inInode(JournalSuper, c.sb.JournalInum).onBlock(runs[0].block)
	fastCommits := uint32(0)
	if s.FeatureIncompat&disk.JournalIncompatFastCommit != 0 {
		if fastCommits = s.FastCommits; fastCommits == 0 {
			fastCommits = disk.JournalDefaultFC
		}
	}
	v2 := le.Uint32(c.block[0x24:])|le.Uint32(c.block[0x28:])|le.Uint32(c.block[0x2c:])|le.Uint32(c.block[0x40:]) != 0
	both := uint32(disk.JournalIncompatCsumV2 | disk.JournalIncompatCsumV3)
	switch {
	case s.Header.Magic != disk.JournalMagic:
		err = c.add(prob, "the journal's superblock has no magic number")
	case s.Header.Type != disk.JournalSuperV1 && s.Header.Type != disk.JournalSuperV2:
		err = c.add(prob, "the journal's superblock has type %d", s.Header.Type)
	case s.Header.Type == disk.JournalSuperV1 && v2:
		err = c.add(prob, "the journal's superblock is of version 1, with fields of version 2")
	case s.BlockSize != uint32(c.bs):
		err = c.add(prob, "the journal has blocks of %d bytes", s.BlockSize)
	case uint64(s.MaxLen) > size || s.MaxLen < minJournal:
		err = c.add(prob, "the journal says it has %d blocks, of %d", s.MaxLen, size)
	case s.First == 0 || s.First >= s.MaxLen:
		err = c.add(prob, "the journal's log starts at block %d of %d", s.First, s.MaxLen)
	case s.FeatureIncompat&^uint32(knownJournalIncompat) != 0 || s.FeatureROCompat != 0:
		err = c.add(prob, "the journal has unknown features %#x, %#x", s.FeatureIncompat, s.FeatureROCompat)
	case s.FeatureIncompat&both == both:
		err = c.add(prob, "the journal has two versions of checksums")
	case s.HasChecksum() && s.ChecksumType != disk.JournalChecksumCRC32C:
		err = c.add(prob, "the journal's checksums are of type %d, which does not exist", s.ChecksumType)
	case s.HasChecksum() && s.StoredChecksum != disk.JournalSuperChecksum(c.block):
		err = c.add(prob, "the journal's superblock has checksum %#08x, should have %#08x", s.StoredChecksum, disk.JournalSuperChecksum(c.block))
	case s.Errno != 0:
		err = c.add(prob, "the journal notes that error %d stopped it", -int32(s.Errno))
	case s.Users > 1:
		err = c.add(prob, "the journal is of %d file systems", s.Users)
	case fastCommits > 0 && uint64(fastCommits)+minJournal > uint64(s.MaxLen):
		err = c.add(prob, "the journal keeps %d blocks of %d for fast commits", fastCommits, s.MaxLen)
	case s.Start != 0 && (s.Start < s.First || s.Start >= s.MaxLen-fastCommits):
		err = c.add(prob, "the journal's log begins at block %d, outside of %d to %d", s.Start, s.First, s.MaxLen-fastCommits)
	default:
		return s, true, nil
	}
	return s, false, err
}

// replay shows the file system as it will be after the journal's replay, and starts over with that.
func (c *checker) replay(runs []fileRun) error {
	j := jbd2.Journal{Device: c.dev, BlockSize: c.bs, Blocks: c.blocks}
	for _, r := range runs {
		j.Runs = append(j.Runs, jbd2.Run{First: uint32(r.logical), N: uint32(r.n), Home: r.block})
	}
	dev, _, err := j.Replay(true)
	if err != nil {
		return c.add(inInode(JournalLog, c.sb.JournalInum), "the journal cannot be replayed: %v", err)
	}
	// What was found so far is of before.
	*c.r = Report{Replayed: true}
	c.dev, c.groups = dev, nil
	if err := c.superblock(); err != nil {
		return err
	}
	c.r.NeedsRecovery = true
	return c.descriptors()
}
