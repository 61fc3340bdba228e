package disk

// Hash tree of a directory: block 0 is the root (entries "." and "..", then the info, then
// index entries), inner nodes start with an empty directory entry over the whole block, and
// leaves are ordinary directory blocks.
const (
	HtreeInfoOffset  = 24 // of the root's info
	HtreeInfoLen     = 8
	HtreeRootOffset  = HtreeInfoOffset + HtreeInfoLen // of the root's index entries
	HtreeNodeOffset  = 8                              // of an inner node's
	HtreeEntrySize   = 8
	HtreeTailSize    = 8
	HtreeMaxLevels   = 1 // inner levels below the root; one more with large_dir
	HtreeMaxLevelsLD = 2
	HtreeBlockMask   = 0x0fffffff
)

// HtreeInfo is the info in a root.
type HtreeInfo struct {
	Reserved    uint32
	HashVersion uint8
	InfoLen     uint8
	Levels      uint8 // inner levels between root and leaves
	Flags       uint8
}

// Decode reads the info from a root block.
func (i *HtreeInfo) Decode(block []byte) {
	p := block[HtreeInfoOffset:]
	*i = HtreeInfo{le.Uint32(p), p[4], p[5], p[6], p[7]}
}

// Encode writes the info to a root block.
func (i *HtreeInfo) Encode(block []byte) {
	p := block[HtreeInfoOffset:]
	le.PutUint32(p, i.Reserved)
	p[4], p[5], p[6], p[7] = i.HashVersion, i.InfoLen, i.Levels, i.Flags
}

// HtreeEntries is the array of index entries of a root or node: p starts at its first
// entry, whose hash field holds limit and count instead (its hash counts as 0).
type HtreeEntries []byte

func (e HtreeEntries) Limit() int { return int(le.Uint16(e)) }
func (e HtreeEntries) Count() int { return int(le.Uint16(e[2:])) }

// SetLimit and SetCount store the numbers of entries that fit and that are in use.
func (e HtreeEntries) SetLimit(n int) { le.PutUint16(e, uint16(n)) }
func (e HtreeEntries) SetCount(n int) { le.PutUint16(e[2:], uint16(n)) }

// Hash returns the lowest hash of entry i's subtree; bit 0 is set if names with the same
// hash continue from the subtree before.
func (e HtreeEntries) Hash(i int) uint32 {
	if i == 0 {
		return 0
	}
	return le.Uint32(e[i*HtreeEntrySize:])
}

// Block returns the block of the directory that entry i points to.
func (e HtreeEntries) Block(i int) uint32 {
	return le.Uint32(e[i*HtreeEntrySize+4:]) & HtreeBlockMask
}

// SetHash and SetBlock store entry i.
func (e HtreeEntries) SetHash(i int, h uint32)  { le.PutUint32(e[i*HtreeEntrySize:], h) }
func (e HtreeEntries) SetBlock(i int, b uint32) { le.PutUint32(e[i*HtreeEntrySize+4:], b) }

// HtreeLimit returns how many entries fit behind offset off of a block, with or without
// room for the checksum.
func HtreeLimit(blockSize, off int, checksum bool) int {
	n := (blockSize - off) / HtreeEntrySize
	if checksum {
		n -= HtreeTailSize / HtreeEntrySize
	}
	return n
}

// HtreeChecksum sums a root or node whose entries start at off, under the directory's
// seed. limit and count must fit the block with its tail.
func HtreeChecksum(seed uint32, block []byte, off, limit, count int) uint32 {
	tail := block[off+limit*HtreeEntrySize:]
	c := Checksum(seed, block[:off+count*HtreeEntrySize])
	c = Checksum(c, tail[:4])
	return Checksum(c, []byte{0, 0, 0, 0})
}

// StoredHtreeChecksum returns the checksum that the root or node holds.
func StoredHtreeChecksum(block []byte, off, limit int) uint32 {
	return le.Uint32(block[off+limit*HtreeEntrySize+4:])
}

// SetHtreeChecksum stores the checksum in a root or node.
func SetHtreeChecksum(seed uint32, block []byte, off, limit, count int) {
	le.PutUint32(block[off+limit*HtreeEntrySize+4:], HtreeChecksum(seed, block, off, limit, count))
}
