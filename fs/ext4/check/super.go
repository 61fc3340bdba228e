package check

import (
	"fmt"
	"strings"
	"time"

	"pinhole/fs/ext4/disk"
)

// Features that this check knows; a file system with others is refused.
const (
	knownCompat = disk.CompatDirPrealloc | disk.CompatHasJournal | disk.CompatExtAttr | disk.CompatResizeInode |
		disk.CompatDirIndex | disk.CompatSparseSuper2 | disk.CompatFastCommit | disk.CompatStableInodes | disk.CompatOrphanFile
	knownIncompat = disk.IncompatFiletype | disk.IncompatRecover | disk.IncompatMetaBG | disk.IncompatExtents |
		disk.Incompat64Bit | disk.IncompatFlexBG | disk.IncompatCsumSeed | disk.IncompatLargeDir
	knownROCompat = disk.ROCompatSparseSuper | disk.ROCompatLargeFile | disk.ROCompatHugeFile | disk.ROCompatGDTCsum |
		disk.ROCompatDirNlink | disk.ROCompatExtraIsize | disk.ROCompatMetadataCsum | disk.ROCompatReadonly | disk.ROCompatOrphanPresent
)

const (
	maxLogBlock = 6
	minPerGroup = 256 // blocks; mke2fs makes none with fewer
	osHurd      = 1
	timeSlack   = 24 * 60 * 60 // seconds that clocks may differ
	maxInodes16 = 65536
)

// superblock reads the superblock and decides whether there is anything to check.
func (c *checker) superblock() error {
	raw := make([]byte, disk.SuperblockSize)
	if c.dev.Size() < disk.SuperblockOffset+disk.SuperblockSize {
		return c.add(at(SuperMagic).as(Fatal), "%d bytes are too small for a file system", c.dev.Size())
	}
	if err := c.dev.ReadAt(raw, disk.SuperblockOffset); err != nil {
		return err
	}
	if err := c.sb.Decode(raw); err != nil {
		return c.add(at(SuperMagic).as(Fatal), "%v%s", err, c.otherSuper())
	}
	s := &c.sb
	if s.FeatureROCompat&disk.ROCompatMetadataCsum != 0 {
		if s.ChecksumType != disk.ChecksumCRC32C {
			return c.add(at(SuperValue).as(Fatal), "the type of the checksums is %d, which does not exist", s.ChecksumType)
		}
		if want := disk.SuperblockChecksum(raw); s.StoredChecksum != want {
			return c.add(at(SuperChecksum).as(Fatal), "the superblock's checksum is %#08x, should be %#08x%s", s.StoredChecksum, want, c.otherSuper())
		}
	}
	if err := c.features(); err != nil {
		return err
	}
	if err := c.superValues(); err != nil {
		return err
	}
	c.setGeometry()
	return c.superState()
}

// features refuses what cannot be judged, and reports what cannot be.
func (c *checker) features() error {
	s := &c.sb
	var unknown []string
	for set, f := range [...]struct{ have, known uint32 }{
		{s.FeatureCompat, knownCompat}, {s.FeatureIncompat, knownIncompat}, {s.FeatureROCompat, knownROCompat},
	} {
		if f.have&^f.known != 0 {
			unknown = append(unknown, disk.FeatureNames(disk.FeatureSet(set), f.have&^f.known))
		}
	}
	if unknown != nil {
		return fmt.Errorf("%w: %s", ErrUnsupported, strings.Join(unknown, ","))
	}
	for _, f := range [...]struct {
		wrong bool
		text  string
	}{
		{c.hasROCompat(disk.ROCompatMetadataCsum | disk.ROCompatGDTCsum), "metadata_csum and uninit_bg at the same time"},
		{c.hasIncompat(disk.Incompat64Bit) && !c.hasIncompat(disk.IncompatExtents), "64bit without extent"},
		{c.hasIncompat(disk.IncompatCsumSeed) && !c.hasROCompat(disk.ROCompatMetadataCsum), "metadata_csum_seed without metadata_csum"},
		{c.hasCompat(disk.CompatResizeInode) && c.hasIncompat(disk.IncompatMetaBG), "resize_inode and meta_bg at the same time"},
		{c.hasROCompat(disk.ROCompatOrphanPresent) && !c.hasCompat(disk.CompatOrphanFile), "orphan_present without orphan_file"},
		{s.RevLevel == disk.RevOriginal && s.FeatureCompat|s.FeatureIncompat|s.FeatureROCompat != 0, "features in a file system of revision 0"},
	} {
		if f.wrong {
			if err := c.add(at(SuperFeatures), "features: %s", f.text); err != nil {
				return err
			}
		}
	}
	return nil
}

// superValues checks what the rest of the check computes with.
func (c *checker) superValues() error {
	s := &c.sb
	bad := false
	value := func(name string, v, low, high uint64) error {
		if v >= low && v <= high {
			return nil
		}
		bad = true
		return c.add(at(SuperValue), "%s is %d, must be from %d to %d", name, v, low, high)
	}
	pow2 := func(name string, v uint64) error {
		if v != 0 && v&(v-1) == 0 {
			return nil
		}
		bad = true
		return c.add(at(SuperValue), "%s is %d, must be a power of 2", name, v)
	}
	stop := func(err error) error {
		if err == nil && bad {
			return errStop
		}
		return err
	}
	if err := value("log_block_size", uint64(s.LogBlockSize), 0, maxLogBlock); err != nil || bad {
		return stop(err)
	}
	bs := uint64(s.BlockSize())
	firstData := uint64(0)
	if bs == 1024 {
		firstData = 1
	}
	isize := max(uint64(s.InodeSize), 1)
	perBlock := max(bs/isize, 1)
	desc := uint64(s.DescriptorSize())
	for _, err := range [...]error{
		value("inodes_count", uint64(s.InodesCount), 1, 1<<32-1),
		value("blocks_count", s.BlocksCount, 1, 1<<48-1),
		value("first_data_block", uint64(s.FirstDataBlock), firstData, firstData),
		value("log_cluster_size", uint64(s.LogClusterSize), uint64(s.LogBlockSize), uint64(s.LogBlockSize)),
		value("blocks_per_group", uint64(s.BlocksPerGroup), minPerGroup, min(8*bs, 1<<16-8)),
		value("clusters_per_group", uint64(s.ClustersPerGrp), uint64(s.BlocksPerGroup), uint64(s.BlocksPerGroup)),
		value("inodes_per_group", uint64(s.InodesPerGroup), perBlock, min(8*bs, maxInodes16-perBlock)),
		value("r_blocks_count", s.RBlocksCount, 0, s.BlocksCount/2),
		value("reserved_gdt_blocks", uint64(s.ReservedGDT), 0, bs/4),
		value("inode_size", uint64(s.InodeSize), disk.GoodOldInodeSize, bs),
		pow2("inode_size", uint64(s.InodeSize)),
		value("rev_level", uint64(s.RevLevel), 0, disk.RevDynamic),
		value("log_groups_per_flex", uint64(s.LogGroupsPerFlx), 0, 31),
		value("free_blocks_count", s.FreeBlocksCount, 0, s.BlocksCount),
		value("free_inodes_count", uint64(s.FreeInodesCount), 0, uint64(s.InodesCount)),
	} {
		if err != nil {
			return err
		}
	}
	if s.RevLevel >= disk.RevDynamic {
		if err := value("first_ino", uint64(s.FirstIno), 11, uint64(s.InodesCount)); err != nil {
			return err
		}
	}
	if c.hasIncompat(disk.Incompat64Bit) {
		if err := value("desc_size", desc, disk.MinDescSize64, disk.MaxDescSize); err != nil {
			return err
		}
		if err := pow2("desc_size", desc); err != nil {
			return err
		}
	}
	if d := uint64(s.DescSize); !c.hasIncompat(disk.Incompat64Bit) && (d > disk.MaxDescSize || d&(d-1) != 0) {
		bad = true
		if err := c.add(at(SuperValue), "desc_size is %d, must be 0 or a power of 2, up to %d", d, disk.MaxDescSize); err != nil {
			return err
		}
	}
	if size := uint64(s.DescriptorSize()); c.hasIncompat(disk.IncompatMetaBG) && s.BlocksPerGroup > 0 && size > 0 {
		if table := (s.GroupCount()*size + bs - 1) / bs; uint64(s.FirstMetaBG) > table {
			bad = true
			if err := c.add(at(SuperValue), "first_meta_bg is %d, of a descriptor table of %d blocks", s.FirstMetaBG, table); err != nil {
				return err
			}
		}
	}
	if s.BlocksPerGroup%8 != 0 {
		bad = true
		if err := c.add(at(SuperValue), "blocks_per_group is %d, must be a multiple of 8", s.BlocksPerGroup); err != nil {
			return err
		}
	}
	if bad {
		return errStop
	}
	if s.BlocksCount <= firstData {
		return c.add(at(SuperValue).as(Fatal), "blocks_count is %d: there is no group", s.BlocksCount)
	}
	if groups := s.GroupCount(); groups*uint64(s.InodesPerGroup) != uint64(s.InodesCount) {
		return c.add(at(SuperValue).as(Fatal), "inodes_count is %d, but %d groups of %d have %d", s.InodesCount, groups, s.InodesPerGroup, groups*uint64(s.InodesPerGroup))
	}
	if size := uint64(c.dev.Size()); s.BlocksCount > size/bs {
		return c.add(at(SuperSize).as(Fatal), "the file system has %d blocks of %d bytes, but the device only %d bytes: it was truncated", s.BlocksCount, bs, size)
	}
	if room := isize - disk.GoodOldInodeSize; s.InodeSize > disk.GoodOldInodeSize && s.RevLevel >= disk.RevDynamic {
		for _, x := range [...]struct {
			name string
			v    uint64
		}{{"min_extra_isize", uint64(s.MinExtraIsize)}, {"want_extra_isize", uint64(s.WantExtraIsize)}} {
			if x.v > room || x.v&3 != 0 && x.v != 0 {
				if err := c.add(at(SuperValue), "%s is %d: inodes of %d bytes cannot have that", x.name, x.v, isize); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// setGeometry takes over what superValues found good.
func (c *checker) setGeometry() {
	s := &c.sb
	c.bs, c.bits = s.BlockSize(), uint(s.LogBlockSize)+10
	c.csum = c.hasROCompat(disk.ROCompatMetadataCsum)
	c.gdtCsum = c.csum || c.hasROCompat(disk.ROCompatGDTCsum)
	c.seed = s.Seed()
	c.first, c.blocks, c.perGroup = uint64(s.FirstDataBlock), s.BlocksCount, uint64(s.BlocksPerGroup)
	c.inodes, c.perTable, c.isize = s.InodesCount, s.InodesPerGroup, int(s.InodeSize)
	c.tableLen = (uint64(c.perTable)*uint64(c.isize) + uint64(c.bs) - 1) >> c.bits
	c.gdtLen = (s.GroupCount()*uint64(s.DescriptorSize()) + uint64(c.bs) - 1) >> c.bits
	c.metaBG = c.hasIncompat(disk.IncompatMetaBG)
	small := func(t uint64) bool { return uint32(t) != 0 && uint32(t) < s.InodesCount }
	c.lowDtime = !small(s.Wtime) && !small(s.Mtime) && !small(s.MkfsTime)
	c.block = make([]byte, c.bs)
	c.r.Blocks, c.r.BlockSize, c.r.Inodes = c.blocks, c.bs, uint64(c.inodes)
}

// superState tells how the file system was left.
func (c *checker) superState() error {
	s := &c.sb
	c.r.NeedsRecovery = c.hasIncompat(disk.IncompatRecover)
	if s.State&disk.StateError != 0 || s.ErrorCount > 0 {
		if err := c.add(at(SuperState).as(Note), "errors were found while it was in use (%d)", s.ErrorCount); err != nil {
			return err
		}
	}
	if s.State&disk.StateValid == 0 && !c.r.NeedsRecovery {
		if err := c.add(at(SuperState).as(Note), "it was not unmounted"); err != nil {
			return err
		}
	}
	now := uint64(time.Now().Unix())
	for _, t := range [...]struct {
		name string
		sec  uint64
	}{{"mount", s.Mtime}, {"write", s.Wtime}} {
		if t.sec > now {
			severity := Error
			if t.sec <= now+timeSlack {
				severity = Note // clocks differ
			}
			if err := c.add(at(SuperTime).as(severity), "the last %s was at %s, which is in the future", t.name, time.Unix(int64(t.sec), 0).UTC().Format(time.DateTime)); err != nil {
				return err
			}
		}
	}
	return nil
}

// otherSuper looks for a copy of the superblock that is whole, and says where.
func (c *checker) otherSuper() string {
	raw := make([]byte, disk.SuperblockSize)
	for _, p := range [...]struct{ block, size int64 }{{8193, 1024}, {16384, 2048}, {32768, 4096}} {
		off := p.block * p.size
		if off+disk.SuperblockSize > c.dev.Size() || c.dev.ReadAt(raw, off) != nil {
			continue
		}
		var s disk.Superblock
		if s.Decode(raw) == nil && int64(s.BlockSize()) == p.size && s.BlockGroupNr == 1 &&
			(s.FeatureROCompat&disk.ROCompatMetadataCsum == 0 || s.StoredChecksum == disk.SuperblockChecksum(raw)) {
			return fmt.Sprintf("; there is a good copy: try e2fsck -b %d -B %d", p.block, p.size)
		}
	}
	return ""
}

// backups compares the copies of the superblock and the descriptors, which are only written when
// the file system is made or changes its size or features, with what they are copies of.
func (c *checker) backups() error {
	raw := make([]byte, disk.SuperblockSize)
	for g := 1; g < len(c.groups); g++ {
		if !c.sb.HasSuper(uint32(g)) {
			continue
		}
		if err := c.dev.ReadAt(raw, int64(c.groupFirst(g))<<c.bits); err != nil {
			return err
		}
		var s disk.Superblock
		why := ""
		switch p := &c.sb; {
		case s.Decode(raw) != nil:
			why = "has no magic number"
		case s.FeatureROCompat&disk.ROCompatMetadataCsum != 0 && s.StoredChecksum != disk.SuperblockChecksum(raw):
			why = "has a wrong checksum"
		case s.UUID != p.UUID:
			why = "has another UUID"
		case s.BlocksCount != p.BlocksCount || s.InodesCount != p.InodesCount || s.LogBlockSize != p.LogBlockSize ||
			s.BlocksPerGroup != p.BlocksPerGroup || s.InodesPerGroup != p.InodesPerGroup || s.InodeSize != p.InodeSize:
			why = "is of a file system of another size"
		case !sameFeatures(&s, p):
			why = "has other features"
		case s.BlockGroupNr != uint16(g):
			why = fmt.Sprintf("says it is in group %d", s.BlockGroupNr)
		}
		if why != "" {
			if err := c.add(inGroup(SuperBackup, g).onBlock(c.groupFirst(g)).as(Note), "the copy of the superblock %s", why); err != nil {
				return err
			}
		} else if !c.metaBG && c.gdtLen < c.groupBlocks(g) {
			if err := c.descriptorBackup(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// sameFeatures tells whether a copy has the original's features, but for those that Linux sets in
// the original alone.
func sameFeatures(s, p *disk.Superblock) bool {
	return (s.FeatureCompat^p.FeatureCompat)&^uint32(disk.CompatExtAttr|disk.CompatFastCommit) == 0 &&
		(s.FeatureIncompat^p.FeatureIncompat)&^uint32(disk.IncompatRecover|disk.IncompatLargeDir) == 0 &&
		(s.FeatureROCompat^p.FeatureROCompat)&^uint32(disk.ROCompatLargeFile|disk.ROCompatHugeFile|disk.ROCompatDirNlink|disk.ROCompatOrphanPresent) == 0
}

// descriptorBackup compares the places in a copy of the descriptor table.
func (c *checker) descriptorBackup(g int) error {
	size := c.sb.DescriptorSize()
	per := c.bs / size
	var d disk.Group
	for i := range c.groups {
		if i%per == 0 {
			if err := c.read(c.block, c.groupFirst(g)+1+uint64(i/per)); err != nil {
				return err
			}
		}
		d.Decode(c.block[i%per*size:][:size])
		if p := &c.groups[i].Group; d.BlockBitmap != p.BlockBitmap || d.InodeBitmap != p.InodeBitmap || d.InodeTable != p.InodeTable {
			return c.add(inGroup(GroupBackup, g).as(Note), "the copy of the descriptors has other places for group %d", i)
		}
	}
	return nil
}
