package ext4

import (
	"slices"

	"pinhole/fs/ext4/disk"
)

// xattr is an attribute; name is without its prefix.
type xattr struct {
	index uint8
	name  string
	value []byte
}

func (x xattr) size() int { return disk.XattrEntryLen(len(x.name)) + disk.XattrValueLen(len(x.value)) }

// is tells whether x has the name of y.
func (x xattr) is(y xattr) bool { return x.index == y.index && x.name == y.name }

// parseXattrs decodes the entries in area; values are at offsets from base.
func (n *inode) parseXattrs(block uint64, area, base []byte) ([]xattr, error) {
	var list []xattr
	for off := 0; ; {
		if off+4 > len(area) {
			return nil, n.fs.corruptBlock(n.ino, block, "extended attributes have no end")
		}
		if le.Uint32(area[off:]) == 0 {
			return list, nil
		}
		if off+disk.XattrEntrySize > len(area) {
			return nil, n.fs.corruptBlock(n.ino, block, "extended attribute at offset %d has no room", off)
		}
		var e disk.XattrEntry
		e.Decode(area[off:])
		next := off + disk.XattrEntryLen(int(e.NameLen))
		if next > len(area) || e.ValueIno != 0 || uint64(e.Offset)+uint64(e.ValueSize) > uint64(len(base)) {
			return nil, n.fs.corruptBlock(n.ino, block, "extended attribute at offset %d: name of %d bytes, value of %d at %d in inode %d", off, e.NameLen, e.ValueSize, e.Offset, e.ValueIno)
		}
		name := string(area[off+disk.XattrEntrySize:][:e.NameLen])
		value := slices.Clone(base[e.Offset:][:e.ValueSize])
		list = append(list, xattr{e.Index, name, value})
		off = next
	}
}

// buildXattrs writes list into area (zeroed) with values at the end of base, which ends
// where area ends. It returns the hashes of the entries.
func buildXattrs(list []xattr, area, base []byte) []uint32 {
	hashes := make([]uint32, 0, len(list))
	end := len(base)
	off := 0
	for _, x := range list {
		e := disk.XattrEntry{NameLen: uint8(len(x.name)), Index: x.index, ValueSize: uint32(len(x.value)), Hash: disk.XattrHash(x.name, x.value)}
		if len(x.value) > 0 {
			end -= disk.XattrValueLen(len(x.value))
			copy(base[end:], x.value)
			e.Offset = uint16(end)
		}
		e.Encode(area[off:])
		copy(area[off+disk.XattrEntrySize:], x.name)
		off += disk.XattrEntryLen(len(x.name))
		hashes = append(hashes, e.Hash)
	}
	return hashes
}

// fitsXattrs tells whether list fits into room bytes, with its end mark.
func fitsXattrs(list []xattr, room int) bool {
	size := disk.XattrPad
	for _, x := range list {
		size += x.size()
	}
	return size <= room
}
