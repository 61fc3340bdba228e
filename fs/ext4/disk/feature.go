package disk

import (
	"fmt"
	"strings"
)

// Compatible features: one that is not known may be ignored.
const (
	CompatDirPrealloc   = 0x1
	CompatImagicInodes  = 0x2
	CompatHasJournal    = 0x4
	CompatExtAttr       = 0x8
	CompatResizeInode   = 0x10
	CompatDirIndex      = 0x20
	CompatSparseSuper2  = 0x200
	CompatFastCommit    = 0x400
	CompatStableInodes  = 0x800
	CompatOrphanFile    = 0x1000
	compatLazyBG        = 0x40
	compatExcludeInode  = 0x80
	compatExcludeBitmap = 0x100
)

// Incompatible features: a file system with an unknown one must not be mounted.
const (
	IncompatCompression = 0x1
	IncompatFiletype    = 0x2
	IncompatRecover     = 0x4
	IncompatJournalDev  = 0x8
	IncompatMetaBG      = 0x10
	IncompatExtents     = 0x40
	Incompat64Bit       = 0x80
	IncompatMMP         = 0x100
	IncompatFlexBG      = 0x200
	IncompatEAInode     = 0x400
	IncompatDirData     = 0x1000
	IncompatCsumSeed    = 0x2000
	IncompatLargeDir    = 0x4000
	IncompatInlineData  = 0x8000
	IncompatEncrypt     = 0x10000
	IncompatCasefold    = 0x20000
)

// Read-only compatible features: with an unknown one only reading is safe.
const (
	ROCompatSparseSuper   = 0x1
	ROCompatLargeFile     = 0x2
	ROCompatBtreeDir      = 0x4
	ROCompatHugeFile      = 0x8
	ROCompatGDTCsum       = 0x10
	ROCompatDirNlink      = 0x20
	ROCompatExtraIsize    = 0x40
	ROCompatHasSnapshot   = 0x80
	ROCompatQuota         = 0x100
	ROCompatBigalloc      = 0x200
	ROCompatMetadataCsum  = 0x400
	ROCompatReplica       = 0x800
	ROCompatReadonly      = 0x1000
	ROCompatProject       = 0x2000
	ROCompatSharedBlocks  = 0x4000
	ROCompatVerity        = 0x8000
	ROCompatOrphanPresent = 0x10000
)

// FeatureSet says which of the three feature words a mask belongs to.
type FeatureSet uint8

// The three feature words of the superblock.
const (
	Compat FeatureSet = iota
	Incompat
	ROCompat
)

type featureName struct {
	bit  uint32
	name string
}

// The names are those of mke2fs -O.
var featureNames = [3][]featureName{
	Compat: {
		{CompatDirPrealloc, "dir_prealloc"}, {CompatImagicInodes, "imagic_inodes"},
		{CompatHasJournal, "has_journal"}, {CompatExtAttr, "ext_attr"},
		{CompatResizeInode, "resize_inode"}, {CompatDirIndex, "dir_index"},
		{compatLazyBG, "lazy_bg"}, {compatExcludeInode, "snapshot_bitmap"},
		{compatExcludeBitmap, "exclude_bitmap"}, {CompatSparseSuper2, "sparse_super2"},
		{CompatFastCommit, "fast_commit"}, {CompatStableInodes, "stable_inodes"},
		{CompatOrphanFile, "orphan_file"},
	},
	Incompat: {
		{IncompatCompression, "compression"}, {IncompatFiletype, "filetype"},
		{IncompatRecover, "needs_recovery"}, {IncompatJournalDev, "journal_dev"},
		{IncompatMetaBG, "meta_bg"}, {IncompatExtents, "extent"}, {Incompat64Bit, "64bit"},
		{IncompatMMP, "mmp"}, {IncompatFlexBG, "flex_bg"}, {IncompatEAInode, "ea_inode"},
		{IncompatDirData, "dirdata"}, {IncompatCsumSeed, "metadata_csum_seed"},
		{IncompatLargeDir, "large_dir"}, {IncompatInlineData, "inline_data"},
		{IncompatEncrypt, "encrypt"}, {IncompatCasefold, "casefold"},
	},
	ROCompat: {
		{ROCompatSparseSuper, "sparse_super"}, {ROCompatLargeFile, "large_file"},
		{ROCompatBtreeDir, "btree_dir"}, {ROCompatHugeFile, "huge_file"},
		{ROCompatGDTCsum, "uninit_bg"}, {ROCompatDirNlink, "dir_nlink"},
		{ROCompatExtraIsize, "extra_isize"}, {ROCompatHasSnapshot, "snapshot"},
		{ROCompatQuota, "quota"}, {ROCompatBigalloc, "bigalloc"},
		{ROCompatMetadataCsum, "metadata_csum"}, {ROCompatReplica, "replica"},
		{ROCompatReadonly, "read-only"}, {ROCompatProject, "project"},
		{ROCompatSharedBlocks, "shared_blocks"}, {ROCompatVerity, "verity"},
		{ROCompatOrphanPresent, "orphan_present"},
	},
}

// FeatureNames lists the features of mask, by the names that mke2fs -O knows, separated by
// commas; a bit without a name is shown as FEATURE_C31, _I31 or _R31, as dumpe2fs does.
func FeatureNames(set FeatureSet, mask uint32) string {
	var names []string
	for _, f := range featureNames[set] {
		if mask&f.bit != 0 {
			names = append(names, f.name)
			mask &^= f.bit
		}
	}
	for i := range 32 {
		if mask&(1<<i) != 0 {
			names = append(names, fmt.Sprintf("FEATURE_%c%d", "CIR"[set], i))
		}
	}
	return strings.Join(names, ",")
}
