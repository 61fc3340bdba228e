package disk

// Bits of Group.Flags.
const (
	GroupInodeUninit = 0x1 // inode bitmap (and table) hold nothing yet
	GroupBlockUninit = 0x2 // block bitmap is not written; only metadata is in use
	GroupInodeZeroed = 0x4 // inode table was zeroed
)

// Group is a block group descriptor. The high halves exist in descriptors of 64 bytes
// and more.
type Group struct {
	BlockBitmap  uint64
	InodeBitmap  uint64
	InodeTable   uint64
	FreeBlocks   uint32
	FreeInodes   uint32
	UsedDirs     uint32
	ItableUnused uint32 // inodes at the end of the table that were never used
	BlockCsum    uint32 // checksum of the block bitmap, its low half in short descriptors
	InodeCsum    uint32
	Flags        uint16
	Checksum     uint16 // as found by Decode
}

const groupChecksumOffset = 0x1e

// Decode reads a descriptor of len(p) bytes: 32, or 64 and more.
func (g *Group) Decode(p []byte) {
	*g = Group{
		BlockBitmap:  uint64(le.Uint32(p[0x0:])),
		InodeBitmap:  uint64(le.Uint32(p[0x4:])),
		InodeTable:   uint64(le.Uint32(p[0x8:])),
		FreeBlocks:   uint32(le.Uint16(p[0xc:])),
		FreeInodes:   uint32(le.Uint16(p[0xe:])),
		UsedDirs:     uint32(le.Uint16(p[0x10:])),
		Flags:        le.Uint16(p[0x12:]),
		BlockCsum:    uint32(le.Uint16(p[0x18:])),
		InodeCsum:    uint32(le.Uint16(p[0x1a:])),
		ItableUnused: uint32(le.Uint16(p[0x1c:])),
		Checksum:     le.Uint16(p[groupChecksumOffset:]),
	}
	if len(p) < MinDescSize64 {
		return
	}
	g.BlockBitmap |= uint64(le.Uint32(p[0x20:])) << 32
	g.InodeBitmap |= uint64(le.Uint32(p[0x24:])) << 32
	g.InodeTable |= uint64(le.Uint32(p[0x28:])) << 32
	g.FreeBlocks |= uint32(le.Uint16(p[0x2c:])) << 16
	g.FreeInodes |= uint32(le.Uint16(p[0x2e:])) << 16
	g.UsedDirs |= uint32(le.Uint16(p[0x30:])) << 16
	g.ItableUnused |= uint32(le.Uint16(p[0x32:])) << 16
	g.BlockCsum |= uint32(le.Uint16(p[0x38:])) << 16
	g.InodeCsum |= uint32(le.Uint16(p[0x3a:])) << 16
}

// Encode writes the descriptor to p, whose length is the descriptor size, and leaves the
// checksum (see SetGroupChecksum) and unknown bytes alone.
func (g *Group) Encode(p []byte) {
	le.PutUint32(p[0x0:], uint32(g.BlockBitmap))
	le.PutUint32(p[0x4:], uint32(g.InodeBitmap))
	le.PutUint32(p[0x8:], uint32(g.InodeTable))
	le.PutUint16(p[0xc:], uint16(g.FreeBlocks))
	le.PutUint16(p[0xe:], uint16(g.FreeInodes))
	le.PutUint16(p[0x10:], uint16(g.UsedDirs))
	le.PutUint16(p[0x12:], g.Flags)
	le.PutUint16(p[0x18:], uint16(g.BlockCsum))
	le.PutUint16(p[0x1a:], uint16(g.InodeCsum))
	le.PutUint16(p[0x1c:], uint16(g.ItableUnused))
	if len(p) < MinDescSize64 {
		return
	}
	le.PutUint32(p[0x20:], uint32(g.BlockBitmap>>32))
	le.PutUint32(p[0x24:], uint32(g.InodeBitmap>>32))
	le.PutUint32(p[0x28:], uint32(g.InodeTable>>32))
	le.PutUint16(p[0x2c:], uint16(g.FreeBlocks>>16))
	le.PutUint16(p[0x2e:], uint16(g.FreeInodes>>16))
	le.PutUint16(p[0x30:], uint16(g.UsedDirs>>16))
	le.PutUint16(p[0x32:], uint16(g.ItableUnused>>16))
	le.PutUint16(p[0x38:], uint16(g.BlockCsum>>16))
	le.PutUint16(p[0x3a:], uint16(g.InodeCsum>>16))
}

// GroupChecksum sums the encoded descriptor p of group nr as the superblock's features
// ask for: metadata_csum, the older gdt_csum, or none (0).
func (s *Superblock) GroupChecksum(nr uint32, p []byte) uint16 {
	const after = groupChecksumOffset + 2
	switch {
	case s.FeatureROCompat&ROCompatMetadataCsum != 0:
		c := Checksum32(s.Seed(), nr)
		c = Checksum(c, p[:groupChecksumOffset])
		c = Checksum(c, []byte{0, 0})
		return uint16(Checksum(c, p[after:]))
	case s.FeatureROCompat&ROCompatGDTCsum != 0:
		var n [4]byte
		le.PutUint32(n[:], nr)
		c := Checksum16(^uint16(0), s.UUID[:])
		c = Checksum16(c, n[:])
		c = Checksum16(c, p[:groupChecksumOffset])
		return Checksum16(c, p[after:])
	}
	return 0
}

// SetGroupChecksum stores the checksum in the encoded descriptor p of group nr.
func (s *Superblock) SetGroupChecksum(nr uint32, p []byte) {
	le.PutUint16(p[groupChecksumOffset:], s.GroupChecksum(nr, p))
}
