package disk

// A block of the orphan file is an array of inode numbers (0: the slot is free) and a tail of
// a magic number and a checksum. The file lists inodes that are open but have no name, or whose
// truncation is not finished, as the list in the superblock does.
const (
	OrphanBlockMagic = 0x0b10ca04
	OrphanTailSize   = 8
)

// OrphanSlots returns how many inode numbers a block of the orphan file holds.
func OrphanSlots(blockSize int) int { return (blockSize - OrphanTailSize) / 4 }

// OrphanSlot returns slot i of a block of the orphan file.
func OrphanSlot(block []byte, i int) uint32 { return le.Uint32(block[4*i:]) }

// SetOrphanSlot stores an inode number, or 0, in slot i.
func SetOrphanSlot(block []byte, i int, ino uint32) { le.PutUint32(block[4*i:], ino) }

// HasOrphanTail tells whether the block ends in the tail's magic number.
func HasOrphanTail(block []byte) bool {
	return le.Uint32(block[len(block)-OrphanTailSize:]) == OrphanBlockMagic
}

// OrphanChecksum sums the block nr of the device, which is in the orphan file, under that
// inode's seed.
func OrphanChecksum(seed uint32, nr uint64, block []byte) uint32 {
	return Checksum(Checksum64(seed, nr), block[:4*OrphanSlots(len(block))])
}

// StoredOrphanChecksum returns the checksum that the tail holds.
func StoredOrphanChecksum(block []byte) uint32 { return le.Uint32(block[len(block)-4:]) }

// SetOrphanTail stores the tail; without checksums in the file system, seed is not looked at
// and sum is false.
func SetOrphanTail(seed uint32, nr uint64, block []byte, sum bool) {
	t := block[len(block)-OrphanTailSize:]
	le.PutUint32(t, OrphanBlockMagic)
	le.PutUint32(t[4:], 0)
	if sum {
		le.PutUint32(t[4:], OrphanChecksum(seed, nr, block))
	}
}
