package disk

// Extent tree constants.
const (
	ExtentMagic       = 0xf30a
	ExtentHeaderSize  = 12
	ExtentSize        = 12    // of a leaf entry and of an index entry
	MaxExtentDepth    = 5     // deeper than any tree that covers 2^32 blocks
	MaxExtentLen      = 32768 // blocks of a written extent
	MaxUnwrittenLen   = 32767
	extentTailSize    = 4
	RootExtentEntries = (BlockAreaSize - ExtentHeaderSize) / ExtentSize
)

// ExtentHeader heads every node of an extent tree.
type ExtentHeader struct {
	Magic      uint16
	Entries    uint16
	Max        uint16
	Depth      uint16 // 0 for a leaf
	Generation uint32
}

// Decode reads the header from the first 12 bytes of a node.
func (h *ExtentHeader) Decode(p []byte) {
	*h = ExtentHeader{le.Uint16(p), le.Uint16(p[2:]), le.Uint16(p[4:]), le.Uint16(p[6:]), le.Uint32(p[8:])}
}

// Encode writes the header to the first 12 bytes of a node.
func (h *ExtentHeader) Encode(p []byte) {
	le.PutUint16(p, h.Magic)
	le.PutUint16(p[2:], h.Entries)
	le.PutUint16(p[4:], h.Max)
	le.PutUint16(p[6:], h.Depth)
	le.PutUint32(p[8:], h.Generation)
}

// Extent is a leaf entry: Len blocks of the file from Block on are at Start on the device.
// Blocks of an unwritten extent read as zeros.
type Extent struct {
	Block     uint32
	Len       uint32
	Start     uint64
	Unwritten bool
}

// Decode reads a leaf entry of 12 bytes.
func (e *Extent) Decode(p []byte) {
	n := uint32(le.Uint16(p[4:]))
	*e = Extent{Block: le.Uint32(p), Len: n, Start: uint64(le.Uint32(p[8:])) | uint64(le.Uint16(p[6:]))<<32}
	if n > MaxExtentLen {
		e.Len, e.Unwritten = n-MaxExtentLen, true
	}
}

// Encode writes a leaf entry of 12 bytes.
func (e *Extent) Encode(p []byte) {
	n := e.Len
	if e.Unwritten {
		n += MaxExtentLen
	}
	le.PutUint32(p, e.Block)
	le.PutUint16(p[4:], uint16(n))
	le.PutUint16(p[6:], uint16(e.Start>>32))
	le.PutUint32(p[8:], uint32(e.Start))
}

// ExtentIndex is an entry of an inner node: the node at block Child covers the file from
// block Block to the next entry's.
type ExtentIndex struct {
	Block uint32
	Child uint64
}

// Decode reads an index entry of 12 bytes.
func (x *ExtentIndex) Decode(p []byte) {
	*x = ExtentIndex{le.Uint32(p), uint64(le.Uint32(p[4:])) | uint64(le.Uint16(p[8:]))<<32}
}

// Encode writes an index entry of 12 bytes.
func (x *ExtentIndex) Encode(p []byte) {
	le.PutUint32(p, x.Block)
	le.PutUint32(p[4:], uint32(x.Child))
	le.PutUint16(p[8:], uint16(x.Child>>32))
	le.PutUint16(p[10:], 0)
}

// ExtentBlockMax returns how many entries a tree node in a block of its own has room for.
func ExtentBlockMax(blockSize int) int { return (blockSize - ExtentHeaderSize) / ExtentSize }

// ExtentTailOffset returns where the checksum of a node with room for max entries lies.
func ExtentTailOffset(max int) int { return ExtentHeaderSize + ExtentSize*max }

// ExtentBlockChecksum sums a node in a block of its own under the inode's seed. ok is
// false if max entries leave no room for the checksum.
func ExtentBlockChecksum(seed uint32, block []byte, max int) (sum uint32, ok bool) {
	off := ExtentTailOffset(max)
	if off+extentTailSize > len(block) {
		return 0, false
	}
	return Checksum(seed, block[:off]), true
}

// StoredExtentChecksum returns the checksum that the node holds.
func StoredExtentChecksum(block []byte, max int) uint32 {
	return le.Uint32(block[ExtentTailOffset(max):])
}

// SetExtentChecksum stores the checksum in a node, if it has room for it.
func SetExtentChecksum(seed uint32, block []byte, max int) {
	if sum, ok := ExtentBlockChecksum(seed, block, max); ok {
		le.PutUint32(block[ExtentTailOffset(max):], sum)
	}
}
