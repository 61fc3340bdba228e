package disk

import (
	"hash/crc32"
	"sync"
)

// The tables are made when they are first used: that takes a good part of what a small program
// takes from start to end, and not every program that links this package looks at a disk.
var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// Checksum continues the CRC-32C seed over p the way ext4 does: the register is neither
// preset nor complemented at the end. A fresh sum starts from ^uint32(0).
func Checksum(seed uint32, p []byte) uint32 {
	return ^crc32.Update(^seed, castagnoli(), p)
}

// Checksum32 continues the CRC-32C seed over one little-endian 32-bit number.
func Checksum32(seed, v uint32) uint32 {
	var b [4]byte
	le.PutUint32(b[:], v)
	return Checksum(seed, b[:])
}

// Checksum64 continues the CRC-32C seed over one little-endian 64-bit number.
func Checksum64(seed uint32, v uint64) uint32 {
	var b [8]byte
	le.PutUint64(b[:], v)
	return Checksum(seed, b[:])
}

var crc16Table = sync.OnceValue(func() *[256]uint16 {
	var t [256]uint16
	for i := range t {
		c := uint16(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0xa001
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return &t
})

// Checksum16 continues the reflected CRC-16 (polynomial 0x8005) that the older gdt_csum
// feature uses for group descriptors.
func Checksum16(seed uint16, p []byte) uint16 {
	t := crc16Table()
	for _, b := range p {
		seed = seed>>8 ^ t[byte(seed)^b]
	}
	return seed
}

// InodeSeed returns the seed of all checksums that belong to an inode: the inode itself,
// its extent blocks and its directory blocks.
func InodeSeed(fsSeed, ino, generation uint32) uint32 {
	return Checksum32(Checksum32(fsSeed, ino), generation)
}

// BitmapChecksum sums the first n bytes of a block or inode bitmap.
func BitmapChecksum(fsSeed uint32, bitmap []byte, n int) uint32 {
	return Checksum(fsSeed, bitmap[:n])
}
