package disk

// Extended attributes lie in the inode behind its extra fields (magic, then entries) or in
// one block (header, then entries). Entries grow up, values grow down from the end; four
// zero bytes end the entries.
const (
	XattrMagic       = 0xea020000
	XattrInodeHeader = 4
	XattrBlockHeader = 32
	XattrEntrySize   = 16 // before the name
	XattrPad         = 4
)

// Name indexes: prefixes that are not stored.
const (
	XattrUser            = 1
	XattrPosixACLAccess  = 2
	XattrPosixACLDefault = 3
	XattrTrusted         = 4
	XattrSecurity        = 6
	XattrSystem          = 7
)

// XattrHeader heads a block of attributes.
type XattrHeader struct {
	Magic    uint32
	Refcount uint32 // inodes that share the block
	Blocks   uint32 // always 1
	Hash     uint32
	Checksum uint32
}

// Decode reads the header from a block.
func (h *XattrHeader) Decode(p []byte) {
	*h = XattrHeader{le.Uint32(p), le.Uint32(p[4:]), le.Uint32(p[8:]), le.Uint32(p[12:]), le.Uint32(p[16:])}
}

// Encode writes the header to a block, without the checksum.
func (h *XattrHeader) Encode(p []byte) {
	clear(p[:XattrBlockHeader])
	le.PutUint32(p, h.Magic)
	le.PutUint32(p[4:], h.Refcount)
	le.PutUint32(p[8:], h.Blocks)
	le.PutUint32(p[12:], h.Hash)
}

// XattrEntry is the head of an entry; the name of NameLen bytes follows it.
type XattrEntry struct {
	NameLen   uint8
	Index     uint8
	Offset    uint16 // of the value: from the first entry in an inode, from the start in a block
	ValueIno  uint32 // inode that holds the value (feature ea_inode)
	ValueSize uint32
	Hash      uint32
}

// Decode reads an entry's head of 16 bytes.
func (e *XattrEntry) Decode(p []byte) {
	*e = XattrEntry{p[0], p[1], le.Uint16(p[2:]), le.Uint32(p[4:]), le.Uint32(p[8:]), le.Uint32(p[12:])}
}

// Encode writes an entry's head of 16 bytes.
func (e *XattrEntry) Encode(p []byte) {
	p[0], p[1] = e.NameLen, e.Index
	le.PutUint16(p[2:], e.Offset)
	le.PutUint32(p[4:], e.ValueIno)
	le.PutUint32(p[8:], e.ValueSize)
	le.PutUint32(p[12:], e.Hash)
}

// XattrEntryLen returns the bytes of an entry with a name of n bytes.
func XattrEntryLen(n int) int { return (XattrEntrySize + n + XattrPad - 1) &^ (XattrPad - 1) }

// XattrValueLen returns the bytes that a value of n bytes occupies.
func XattrValueLen(n int) int { return (n + XattrPad - 1) &^ (XattrPad - 1) }

// XattrHash returns the hash of an entry over its name (without prefix) and value.
func XattrHash(name string, value []byte) uint32 {
	var h uint32
	for i := range len(name) {
		h = h<<5 ^ h>>27 ^ uint32(name[i])
	}
	for len(value) > 0 {
		var w [4]byte
		value = value[copy(w[:], value):]
		h = h<<16 ^ h>>16 ^ le.Uint32(w[:])
	}
	return h
}

// XattrBlockHash joins the hashes of a block's entries, in order; one entry without a hash
// makes the block's 0 (not to be shared).
func XattrBlockHash(entries []uint32) uint32 {
	var h uint32
	for _, e := range entries {
		if e == 0 {
			return 0
		}
		h = h<<16 ^ h>>16 ^ e
	}
	return h
}

// XattrBlockChecksum sums a block of attributes that lies at block nr.
func XattrBlockChecksum(fsSeed uint32, nr uint64, block []byte) uint32 {
	c := Checksum64(fsSeed, nr)
	c = Checksum(c, block[:16])
	c = Checksum(c, []byte{0, 0, 0, 0})
	return Checksum(c, block[20:])
}

// SetXattrChecksum stores the checksum in a block of attributes.
func SetXattrChecksum(fsSeed uint32, nr uint64, block []byte) {
	le.PutUint32(block[16:], XattrBlockChecksum(fsSeed, nr, block))
}
