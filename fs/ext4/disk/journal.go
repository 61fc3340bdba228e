package disk

import "encoding/binary"

var be = binary.BigEndian

// Journal (jbd2) constants.
const (
	JournalMagic      = 0xc03b3998
	JournalHeaderSize = 12
	JournalSuperSize  = 1024

	JournalDescriptor = 1
	JournalCommit     = 2
	JournalSuperV1    = 3
	JournalSuperV2    = 4
	JournalRevoke     = 5

	JournalCompatChecksum = 0x1

	JournalIncompatRevoke      = 0x1
	JournalIncompat64Bit       = 0x2
	JournalIncompatAsyncCommit = 0x4
	JournalIncompatCsumV2      = 0x8
	JournalIncompatCsumV3      = 0x10
	JournalIncompatFastCommit  = 0x20

	JournalTagEscape   = 1 // the block's first word was the magic number; zero in the journal
	JournalTagSameUUID = 2 // no UUID follows the tag
	JournalTagDeleted  = 4
	JournalTagLast     = 8

	JournalRevokeHeader = 16
	JournalTailSize     = 4
	JournalDefaultFC    = 256 // fast-commit blocks when the superblock says 0

	JournalChecksumCRC32  = 1
	JournalChecksumCRC32C = 4
)

// JournalHeader heads every journal block but the copies of data.
type JournalHeader struct {
	Magic, Type, Sequence uint32
}

// Decode reads a header of 12 bytes.
func (h *JournalHeader) Decode(p []byte) {
	*h = JournalHeader{be.Uint32(p), be.Uint32(p[4:]), be.Uint32(p[8:])}
}

// Encode writes a header of 12 bytes.
func (h *JournalHeader) Encode(p []byte) {
	be.PutUint32(p, h.Magic)
	be.PutUint32(p[4:], h.Type)
	be.PutUint32(p[8:], h.Sequence)
}

// JournalSuper is the journal's superblock, in its first block.
type JournalSuper struct {
	Header          JournalHeader
	BlockSize       uint32
	MaxLen          uint32 // blocks of the journal
	First           uint32 // first block of the log
	Sequence        uint32 // first transaction that the log may hold
	Start           uint32 // block where it starts; 0 for an empty log
	Errno           uint32
	FeatureCompat   uint32
	FeatureIncompat uint32
	FeatureROCompat uint32
	UUID            [16]byte
	Users           uint32
	DynSuper        uint32
	MaxTransaction  uint32
	MaxTransData    uint32
	ChecksumType    uint8
	FastCommits     uint32
	Head            uint32
	StoredChecksum  uint32
	UserUUID        [16]byte // of the first user
}

// Decode reads the superblock from its 1024 bytes.
func (s *JournalSuper) Decode(p []byte) {
	*s = JournalSuper{
		BlockSize: be.Uint32(p[0xc:]), MaxLen: be.Uint32(p[0x10:]), First: be.Uint32(p[0x14:]),
		Sequence: be.Uint32(p[0x18:]), Start: be.Uint32(p[0x1c:]), Errno: be.Uint32(p[0x20:]),
	}
	s.Header.Decode(p)
	if s.Header.Type != JournalSuperV2 {
		return
	}
	s.FeatureCompat = be.Uint32(p[0x24:])
	s.FeatureIncompat = be.Uint32(p[0x28:])
	s.FeatureROCompat = be.Uint32(p[0x2c:])
	copy(s.UUID[:], p[0x30:])
	s.Users = be.Uint32(p[0x40:])
	s.DynSuper = be.Uint32(p[0x44:])
	s.MaxTransaction = be.Uint32(p[0x48:])
	s.MaxTransData = be.Uint32(p[0x4c:])
	s.ChecksumType = p[0x50]
	s.FastCommits = be.Uint32(p[0x54:])
	s.Head = be.Uint32(p[0x58:])
	s.StoredChecksum = be.Uint32(p[0xfc:])
	copy(s.UserUUID[:], p[0x100:])
}

// Encode writes the superblock to its 1024 bytes, with its checksum if the journal has
// checksums of version 2 or 3. Unknown bytes are left alone.
func (s *JournalSuper) Encode(p []byte) {
	s.Header.Encode(p)
	for i, v := range [...]uint32{s.BlockSize, s.MaxLen, s.First, s.Sequence, s.Start, s.Errno} {
		be.PutUint32(p[0xc+4*i:], v)
	}
	if s.Header.Type != JournalSuperV2 {
		return
	}
	be.PutUint32(p[0x24:], s.FeatureCompat)
	be.PutUint32(p[0x28:], s.FeatureIncompat)
	be.PutUint32(p[0x2c:], s.FeatureROCompat)
	copy(p[0x30:0x40], s.UUID[:])
	be.PutUint32(p[0x40:], s.Users)
	be.PutUint32(p[0x44:], s.DynSuper)
	be.PutUint32(p[0x48:], s.MaxTransaction)
	be.PutUint32(p[0x4c:], s.MaxTransData)
	p[0x50] = s.ChecksumType
	be.PutUint32(p[0x54:], s.FastCommits)
	be.PutUint32(p[0x58:], s.Head)
	copy(p[0x100:0x110], s.UserUUID[:])
	if s.HasChecksum() {
		be.PutUint32(p[0xfc:], JournalSuperChecksum(p))
	}
}

// HasChecksum tells whether the journal's blocks carry checksums of version 2 or 3.
func (s *JournalSuper) HasChecksum() bool {
	return s.FeatureIncompat&(JournalIncompatCsumV2|JournalIncompatCsumV3) != 0
}

// Seed returns the seed of the journal's checksums.
func (s *JournalSuper) Seed() uint32 { return Checksum(^uint32(0), s.UUID[:]) }

// JournalSuperChecksum sums an encoded journal superblock.
func JournalSuperChecksum(p []byte) uint32 {
	c := Checksum(^uint32(0), p[:0xfc])
	c = Checksum(c, []byte{0, 0, 0, 0})
	return Checksum(c, p[0x100:JournalSuperSize])
}

// JournalTag says, in a descriptor block, where one block that follows in the log belongs.
type JournalTag struct {
	Block    uint64
	Flags    uint32
	Checksum uint32 // of sequence and block: 32 bits in version 3, 16 in version 2
}

// TagSize returns the bytes of a tag, without the UUID that may follow it.
func (s *JournalSuper) TagSize() int {
	if s.FeatureIncompat&JournalIncompatCsumV3 != 0 {
		return 16
	}
	n := 8
	if s.FeatureIncompat&JournalIncompatCsumV2 != 0 {
		n += 2
	}
	if s.FeatureIncompat&JournalIncompat64Bit != 0 {
		n += 4
	}
	return n
}

// DecodeTag reads a tag of TagSize bytes.
func (s *JournalSuper) DecodeTag(p []byte) JournalTag {
	t := JournalTag{Block: uint64(be.Uint32(p))}
	if s.FeatureIncompat&JournalIncompatCsumV3 != 0 {
		t.Flags = be.Uint32(p[4:])
		t.Checksum = be.Uint32(p[12:])
	} else {
		t.Checksum = uint32(be.Uint16(p[4:]))
		t.Flags = uint32(be.Uint16(p[6:]))
	}
	if s.FeatureIncompat&JournalIncompat64Bit != 0 {
		t.Block |= uint64(be.Uint32(p[8:])) << 32
	}
	return t
}

// EncodeTag writes a tag of TagSize bytes.
func (s *JournalSuper) EncodeTag(p []byte, t JournalTag) {
	be.PutUint32(p, uint32(t.Block))
	if s.FeatureIncompat&JournalIncompatCsumV3 != 0 {
		be.PutUint32(p[4:], t.Flags)
		be.PutUint32(p[8:], 0)
		be.PutUint32(p[12:], t.Checksum)
	} else {
		be.PutUint16(p[4:], uint16(t.Checksum))
		be.PutUint16(p[6:], uint16(t.Flags))
	}
	if s.FeatureIncompat&JournalIncompat64Bit != 0 {
		be.PutUint32(p[8:], uint32(t.Block>>32))
	}
}

// JournalTailChecksum sums a descriptor or revoke block, whose last four bytes hold the
// sum and count as zero.
func JournalTailChecksum(seed uint32, block []byte) uint32 {
	c := Checksum(seed, block[:len(block)-JournalTailSize])
	return Checksum(c, []byte{0, 0, 0, 0})
}

// StoredJournalTail returns the checksum that the block's tail holds.
func StoredJournalTail(block []byte) uint32 { return be.Uint32(block[len(block)-JournalTailSize:]) }

// SetJournalTail stores the checksum in the tail of a descriptor or revoke block.
func SetJournalTail(seed uint32, block []byte) {
	be.PutUint32(block[len(block)-JournalTailSize:], JournalTailChecksum(seed, block))
}

// JournalDataChecksum sums one block of a transaction as it stands in the log.
func JournalDataChecksum(seed, sequence uint32, block []byte) uint32 {
	var b [4]byte
	be.PutUint32(b[:], sequence)
	return Checksum(Checksum(seed, b[:]), block)
}

// JournalCommitBlock is a commit block behind its header.
type JournalCommitBlock struct {
	ChecksumType uint8
	ChecksumSize uint8
	Checksum     uint32 // first word of the array
	Sec          uint64
	Nsec         uint32
}

// Decode reads a commit block.
func (c *JournalCommitBlock) Decode(p []byte) {
	*c = JournalCommitBlock{p[0xc], p[0xd], be.Uint32(p[0x10:]), be.Uint64(p[0x30:]), be.Uint32(p[0x38:])}
}

// Encode writes a commit block behind its header.
func (c *JournalCommitBlock) Encode(p []byte) {
	p[0xc], p[0xd] = c.ChecksumType, c.ChecksumSize
	be.PutUint32(p[0x10:], c.Checksum)
	be.PutUint64(p[0x30:], c.Sec)
	be.PutUint32(p[0x38:], c.Nsec)
}

// JournalCommitSize is how much of a commit block means something; zeros follow.
const JournalCommitSize = 0x3c

// JournalCommitOK tells whether a commit block (versions 2 and 3) has the right checksum. Only
// its first sector may have got to the disk, with something older behind it: that is all of
// the record, and current Linux takes it for one, too; e2fsck 1.47.0 does not.
func JournalCommitOK(seed uint32, block []byte) bool {
	sum := be.Uint32(block[0x10:])
	if sum == JournalCommitChecksum(seed, block) {
		return true
	}
	whole := make([]byte, len(block))
	copy(whole, block[:JournalCommitSize])
	return sum == JournalCommitChecksum(seed, whole)
}

// JournalCommitChecksum sums a commit block (versions 2 and 3), its own field as zero.
func JournalCommitChecksum(seed uint32, block []byte) uint32 {
	c := Checksum(seed, block[:0x10])
	c = Checksum(c, []byte{0, 0, 0, 0})
	return Checksum(c, block[0x14:])
}

// JournalRevokeCount returns how many bytes of a revoke block are in use, header included.
func JournalRevokeCount(block []byte) uint32 { return be.Uint32(block[JournalHeaderSize:]) }

// SetJournalRevokeCount stores how many bytes of a revoke block are in use.
func SetJournalRevokeCount(block []byte, n uint32) { be.PutUint32(block[JournalHeaderSize:], n) }

// RevokeSize returns the bytes of an entry of a revoke block.
func (s *JournalSuper) RevokeSize() int {
	if s.FeatureIncompat&JournalIncompat64Bit != 0 {
		return 8
	}
	return 4
}

// PutJournalRevoked writes an entry of size bytes.
func PutJournalRevoked(p []byte, block uint64, size int) {
	if size == 8 {
		be.PutUint64(p, block)
	} else {
		be.PutUint32(p, uint32(block))
	}
}

// JournalRevoked returns entry i of a revoke block; size is 4, or 8 with 64-bit numbers.
func JournalRevoked(block []byte, i, size int) uint64 {
	p := block[JournalRevokeHeader+i*size:]
	if size == 8 {
		return be.Uint64(p)
	}
	return uint64(be.Uint32(p))
}
