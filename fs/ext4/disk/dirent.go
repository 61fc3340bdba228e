package disk

// Directory entries.
const (
	DirentHeader   = 8 // bytes before the name
	DirentTailSize = 12
	MaxNameLen     = 255
	tailFileType   = 0xde
)

// Values of Dirent.Type (with feature filetype).
const (
	TypeUnknown = 0
	TypeReg     = 1
	TypeDir     = 2
	TypeChr     = 3
	TypeBlk     = 4
	TypeFifo    = 5
	TypeSock    = 6
	TypeLnk     = 7
	TypeMax     = 8
)

// Dirent is the head of a directory entry; the name of NameLen bytes follows it. Ino is 0
// for an entry that is not in use.
type Dirent struct {
	Ino     uint32
	RecLen  int
	NameLen int
	Type    uint8
}

// DirentSize returns the bytes that an entry with a name of n bytes needs.
func DirentSize(n int) int { return (DirentHeader + n + 3) &^ 3 }

// Decode reads the head from at least 8 bytes. Without the filetype feature, the type
// byte is the high half of the name's length: it is kept in Type, for the caller to judge.
func (d *Dirent) Decode(p []byte) {
	*d = Dirent{le.Uint32(p), RecLenFromDisk(le.Uint16(p[4:])), int(p[6]), p[7]}
}

// Encode writes the head to the first 8 bytes of p.
func (d *Dirent) Encode(p []byte) {
	le.PutUint32(p, d.Ino)
	le.PutUint16(p[4:], RecLenToDisk(d.RecLen))
	p[6] = byte(d.NameLen)
	p[7] = d.Type
}

// PutDirent writes a whole entry with its name.
func PutDirent(p []byte, ino uint32, recLen int, typ uint8, name string) {
	d := Dirent{ino, recLen, len(name), typ}
	d.Encode(p)
	copy(p[DirentHeader:], name)
}

// RecLenFromDisk returns a record length in bytes: lengths of 64 KiB do not fit the field
// and are written as 65535 or 0.
func RecLenFromDisk(v uint16) int {
	if v == 65535 || v == 0 {
		return 1 << 16
	}
	return int(v)
}

// RecLenToDisk is the inverse of RecLenFromDisk.
func RecLenToDisk(n int) uint16 {
	if n == 1<<16 {
		return 65535
	}
	return uint16(n)
}

// InitDirTail makes the last 12 bytes of a directory block the entry-like tail that holds
// the checksum.
func InitDirTail(block []byte) {
	t := block[len(block)-DirentTailSize:]
	clear(t)
	le.PutUint16(t[4:], DirentTailSize)
	t[7] = tailFileType
}

// HasDirTail tells whether the block ends in a checksum tail.
func HasDirTail(block []byte) bool {
	t := block[len(block)-DirentTailSize:]
	return le.Uint32(t) == 0 && le.Uint16(t[4:]) == DirentTailSize && t[6] == 0 && t[7] == tailFileType
}

// DirBlockChecksum sums a directory block (all but its tail) under the directory's seed.
func DirBlockChecksum(seed uint32, block []byte) uint32 {
	return Checksum(seed, block[:len(block)-DirentTailSize])
}

// StoredDirChecksum returns the checksum that the tail holds.
func StoredDirChecksum(block []byte) uint32 { return le.Uint32(block[len(block)-4:]) }

// SetDirChecksum stores the checksum in the block's tail.
func SetDirChecksum(seed uint32, block []byte) {
	le.PutUint32(block[len(block)-4:], DirBlockChecksum(seed, block))
}
