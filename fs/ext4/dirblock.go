package ext4

import (
	"unsafe"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// dirEntry is an entry found in a directory block. name shares the block's memory.
type dirEntry struct {
	ino  uint32
	typ  uint8 // as on disk
	name string
}

// leafSpace returns how much of a directory leaf entries may use.
func (fs *FS) leafSpace() int {
	if fs.hasCsum {
		return fs.bs - disk.DirentTailSize
	}
	return fs.bs
}

// checkDirLeaf is the check of a buffer in roleDir: that entries fill the block, each as
// long as its name, and that the checksum is right. What it has accepted can be walked
// without looking for damage.
func checkDirLeaf(fs *FS, b *buffer, r role, seed uint32) error {
	if fs.hasCsum {
		if !disk.HasDirTail(b.data) {
			return fs.corruptBlock(r.owner(), b.nr, "directory block without a checksum")
		}
		if got, want := disk.StoredDirChecksum(b.data), disk.DirBlockChecksum(seed, b.data); got != want {
			return fs.corruptBlock(r.owner(), b.nr, "directory block checksum is %#x, should be %#x", got, want)
		}
	}
	space := fs.leafSpace()
	for off := 0; off < space; {
		if space-off < disk.DirentHeader {
			return fs.corruptBlock(r.owner(), b.nr, "directory entry at offset %d has no room", off)
		}
		var d disk.Dirent
		d.Decode(b.data[off:])
		if d.RecLen%4 != 0 || d.RecLen < disk.DirentSize(d.NameLen) || d.RecLen > space-off ||
			d.Ino != 0 && d.NameLen == 0 || d.Ino > fs.inodesCount {
			return fs.corruptBlock(r.owner(), b.nr, "directory entry at offset %d: inode %d, length %d, name of %d bytes", off, d.Ino, d.RecLen, d.NameLen)
		}
		off += d.RecLen
	}
	return nil
}

// recLen returns the length of the record at off, and a way out of a loop over the block
// should it be damaged in memory. (Blocks are too small for the lengths that need coding.)
func recLen(data []byte, off int) int {
	n := int(le.Uint16(data[off+4:]))
	if n < disk.DirentHeader {
		return len(data)
	}
	return n
}

// entryAt decodes the entry at off of a checked block.
func entryAt(data []byte, off int) dirEntry {
	n := int(data[off+6])
	name := data[off+disk.DirentHeader:][:n]
	return dirEntry{le.Uint32(data[off:]), data[off+7], unsafe.String(unsafe.SliceData(name), n)}
}

// findEntry looks for name in the entries of data, and returns its offset and the offset
// of the entry before it (-1 for the first), or -1.
func findEntry(data []byte, name string) (off, prev int) {
	prev = -1
	if name == "" {
		return -1, -1
	}
	last := name[len(name)-1] // names that are alike mostly differ at the end
	for off = 0; off+disk.DirentHeader <= len(data); {
		head := le.Uint64(data[off:]) // inode, record length, name length, type
		if int(head>>48&0xff) == len(name) && uint32(head) != 0 {
			if end := off + disk.DirentHeader + len(name); end <= len(data) && data[end-1] == last && string(data[off+disk.DirentHeader:end]) == name {
				return off, prev
			}
		}
		prev = off
		n := int(head >> 32 & 0xffff)
		if n < disk.DirentHeader {
			break
		}
		off += n
	}
	return -1, -1
}

// findBoth is findEntry and findRoom at once: it returns the offset of name, or else that
// of a record with room for it; -1 for what there is not.
func findBoth(data []byte, name string) (entry, room int) {
	need := disk.DirentSize(len(name))
	room = -1
	if name == "" {
		return -1, -1
	}
	last := name[len(name)-1]
	for off := 0; off+disk.DirentHeader <= len(data); {
		head := le.Uint64(data[off:])
		k := int(head >> 48 & 0xff)
		have := int(head >> 32 & 0xffff)
		n := have
		if uint32(head) != 0 {
			if k == len(name) {
				if end := off + disk.DirentHeader + k; end <= len(data) && data[end-1] == last && string(data[off+disk.DirentHeader:end]) == name {
					return off, -1
				}
			}
			n -= disk.DirentSize(k)
		}
		if room < 0 && n >= need {
			room = off
		}
		if have < disk.DirentHeader {
			break
		}
		off += have
	}
	return -1, room
}

// findRoom looks for a record that an entry with a name of n bytes fits into, and returns
// its offset, or -1.
func findRoom(data []byte, n int) int {
	need := disk.DirentSize(n)
	for off := 0; off+disk.DirentHeader <= len(data); {
		have := recLen(data, off)
		if le.Uint32(data[off:]) != 0 {
			have -= disk.DirentSize(int(data[off+6]))
		}
		if have >= need {
			return off
		}
		off += recLen(data, off)
	}
	return -1
}

// putEntry writes an entry into the record at off, which findRoom returned: behind the
// entry that is there, if it is in use.
func putEntry(data []byte, off int, ino uint32, typ uint8, name string) {
	have := recLen(data, off)
	if le.Uint32(data[off:]) != 0 {
		used := disk.DirentSize(int(data[off+6]))
		le.PutUint16(data[off+4:], disk.RecLenToDisk(used))
		off += used
		have -= used
	}
	disk.PutDirent(data[off:], ino, have, typ, name)
}

// cutEntry removes the entry at off: its record becomes part of the one before it, or
// unused if it is the first.
func cutEntry(data []byte, off, prev int) {
	if prev < 0 {
		le.PutUint32(data[off:], 0)
		return
	}
	n := recLen(data, prev) + recLen(data, off)
	le.PutUint16(data[prev+4:], disk.RecLenToDisk(n))
}

// initLeaf makes an empty directory leaf of a zeroed block.
func (fs *FS) initLeaf(data []byte) {
	d := disk.Dirent{RecLen: fs.leafSpace()}
	d.Encode(data)
	if fs.hasCsum {
		disk.InitDirTail(data)
	}
}

// fileType returns the directory entry type of a mode, 0 without the filetype feature.
func (fs *FS) fileType(mode uint32) uint8 {
	if !fs.hasFiletype {
		return disk.TypeUnknown
	}
	switch mode & abi.S_IFMT {
	case abi.S_IFREG:
		return disk.TypeReg
	case abi.S_IFDIR:
		return disk.TypeDir
	case abi.S_IFCHR:
		return disk.TypeChr
	case abi.S_IFBLK:
		return disk.TypeBlk
	case abi.S_IFIFO:
		return disk.TypeFifo
	case abi.S_IFSOCK:
		return disk.TypeSock
	case abi.S_IFLNK:
		return disk.TypeLnk
	}
	return disk.TypeUnknown
}

// direntType turns an entry's type on disk into getdents64's.
func (fs *FS) direntType(t uint8) uint8 {
	if !fs.hasFiletype || t >= disk.TypeMax {
		return abi.DT_UNKNOWN
	}
	return direntTypes[t]
}

var direntTypes = [disk.TypeMax]uint8{abi.DT_UNKNOWN, abi.DT_REG, abi.DT_DIR, abi.DT_CHR, abi.DT_BLK, abi.DT_FIFO, abi.DT_SOCK, abi.DT_LNK}
