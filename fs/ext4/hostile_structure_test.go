package ext4

import (
	"encoding/binary"
	"fmt"

	"pinhole/fs/ext4/disk"
)

// structure is a part of an image that has a meaning of its own.
type structure struct {
	kind  string
	off   int    // in the image
	n     int    // bytes
	block uint64 // that it is in
	ino   uint32 // that it belongs to; 0: none
	// seal computes the checksums of it that repair does not.
	seal func(img []byte)
}

func (s *structure) String() string {
	out := fmt.Sprintf("%s at %d (block %d)", s.kind, s.off, s.block)
	if s.ino != 0 {
		out += fmt.Sprintf(" of inode %d", s.ino)
	}
	return out
}

// anatomy takes an image apart that is known to be sound.
type anatomy struct {
	img  []byte
	sb   disk.Superblock
	bs   int
	csum bool
	list []structure
	// content are the blocks of the files' content, by inode.
	content map[uint32][]uint64
}

func dissect(img []byte) (*anatomy, error) {
	a := &anatomy{img: img, content: make(map[uint32][]uint64)}
	if err := a.sb.Decode(img[disk.SuperblockOffset:]); err != nil {
		return nil, err
	}
	a.bs = a.sb.BlockSize()
	a.csum = a.sb.HasROCompat(disk.ROCompatMetadataCsum)
	a.add("superblock", disk.SuperblockOffset, disk.SuperblockSize, 0, nil)
	size := a.sb.DescriptorSize()
	for g := range uint32(a.sb.GroupCount()) {
		off := (int(a.sb.FirstDataBlock)+1)*a.bs + int(g)*size
		a.add("group descriptor", off, size, 0, nil)
		var d disk.Group
		d.Decode(img[off:][:size])
		a.add("block bitmap", int(d.BlockBitmap)*a.bs, int(a.sb.BlocksPerGroup)/8, 0, nil)
		a.add("inode bitmap", int(d.InodeBitmap)*a.bs, int(a.sb.InodesPerGroup)/8, 0, nil)
		bitmap := img[int(d.InodeBitmap)*a.bs:]
		for i := range a.sb.InodesPerGroup {
			if bitmap[i/8]>>(i%8)&1 != 0 {
				a.inode(g*a.sb.InodesPerGroup+i+1, int(d.InodeTable)*a.bs+int(i)*int(a.sb.InodeSize))
			}
		}
	}
	return a, nil
}

func (a *anatomy) add(kind string, off, n int, ino uint32, seal func(img []byte)) {
	a.list = append(a.list, structure{kind: kind, off: off, n: n, block: uint64(off / a.bs), ino: ino, seal: seal})
}

// addBlock is add for a whole block.
func (a *anatomy) addBlock(kind string, nr uint64, ino uint32, seal func(p []byte)) {
	off := int(nr) * a.bs
	a.add(kind, off, a.bs, ino, func(img []byte) {
		if a.csum {
			seal(img[off:][:a.bs])
		}
	})
}

func (a *anatomy) inode(ino uint32, off int) {
	raw := a.img[off:][:a.sb.InodeSize]
	var d disk.Inode
	d.Decode(raw)
	if d.Mode == 0 {
		return
	}
	a.add("inode", off, len(raw), ino, nil)
	seed := disk.InodeSeed(a.sb.Seed(), ino, d.Generation)
	if len(raw) > disk.GoodOldInodeSize {
		if x := disk.GoodOldInodeSize + int(d.ExtraIsize); x+4 <= len(raw) && le.Uint32(raw[x:]) == disk.XattrMagic {
			a.add("attributes in an inode", off+x, len(raw)-x, ino, nil)
		}
	}
	if nr := d.FileACL; nr != 0 {
		a.addBlock("attribute block", nr, ino, func(p []byte) { disk.SetXattrChecksum(a.sb.Seed(), nr, p) })
	}
	var blocks []uint64
	switch {
	case d.Mode&0xf000 == 0xa000 && d.Size < disk.BlockAreaSize, d.Mode&0xf000 != 0x4000 && d.Mode&0xf000 != 0x8000 && d.Mode&0xf000 != 0xa000:
		return
	case d.Flags&disk.InodeExtents != 0:
		a.add("extent root", off+disk.BlockAreaOffset, disk.BlockAreaSize, ino, nil)
		blocks = a.extents(d.Block[:], ino, seed, blocks)
	default:
		a.add("block map", off+disk.BlockAreaOffset, disk.BlockAreaSize, ino, nil)
		for i := range 15 {
			blocks = a.mapped(uint64(le.Uint32(d.Block[4*i:])), max(i-disk.DirectBlocks+1, 0), ino, blocks)
		}
	}
	a.content[ino] = blocks
	switch {
	case ino == a.sb.JournalInum:
		a.journal(blocks)
	case ino == a.sb.OrphanFileInum:
		for _, nr := range blocks {
			a.addBlock("orphan file", nr, ino, func(p []byte) { disk.SetOrphanTail(seed, nr, p, true) })
		}
	case d.Mode&0xf000 == 0x4000:
		for i, nr := range blocks {
			a.directory(nr, ino, seed, i == 0 && d.Flags&disk.InodeIndex != 0)
		}
	}
}

func (a *anatomy) extents(node []byte, ino, seed uint32, blocks []uint64) []uint64 {
	var h disk.ExtentHeader
	h.Decode(node)
	for i := range int(h.Entries) {
		entry := node[disk.ExtentHeaderSize+i*disk.ExtentSize:]
		if h.Depth == 0 {
			var e disk.Extent
			e.Decode(entry)
			for k := range uint64(e.Len) {
				blocks = append(blocks, e.Start+k)
			}
			continue
		}
		var x disk.ExtentIndex
		x.Decode(entry)
		a.addBlock("extent block", x.Child, ino, func(p []byte) {
			if most := int(le.Uint16(p[4:])); disk.ExtentTailOffset(most)+4 <= len(p) {
				disk.SetExtentChecksum(seed, p, most)
			}
		})
		blocks = a.extents(a.img[int(x.Child)*a.bs:][:a.bs], ino, seed, blocks)
	}
	return blocks
}

// mapped follows a block number of a block map, depth levels above the content.
func (a *anatomy) mapped(nr uint64, depth int, ino uint32, blocks []uint64) []uint64 {
	switch {
	case nr == 0:
		return blocks
	case depth == 0:
		return append(blocks, nr)
	}
	a.addBlock("indirect block", nr, ino, func([]byte) {})
	p := a.img[int(nr)*a.bs:][:a.bs]
	for i := 0; i < a.bs; i += 4 {
		blocks = a.mapped(uint64(le.Uint32(p[i:])), depth-1, ino, blocks)
	}
	return blocks
}

func (a *anatomy) directory(nr uint64, ino, seed uint32, root bool) {
	p := a.img[int(nr)*a.bs:][:a.bs]
	htree := func(off int) func(p []byte) {
		return func(p []byte) {
			e := disk.HtreeEntries(p[off:])
			if off+(e.Limit()+1)*disk.HtreeEntrySize <= len(p) && e.Count() <= e.Limit() {
				disk.SetHtreeChecksum(seed, p, off, e.Limit(), e.Count())
			}
		}
	}
	switch {
	case root:
		a.addBlock("htree root", nr, ino, htree(disk.HtreeRootOffset))
	case le.Uint32(p) == 0 && int(le.Uint16(p[4:])) == a.bs:
		a.addBlock("htree node", nr, ino, htree(disk.HtreeNodeOffset))
	default:
		a.addBlock("directory block", nr, ino, func(p []byte) { disk.SetDirChecksum(seed, p) })
	}
}

// journal finds what is in the log, whether it is still needed or not.
func (a *anatomy) journal(blocks []uint64) {
	be := binary.BigEndian
	block := func(img []byte, i int) []byte { return img[int(blocks[i])*a.bs:][:a.bs] }
	var js disk.JournalSuper
	js.Decode(block(a.img, 0))
	sum := js.HasChecksum()
	ino := a.sb.JournalInum
	put := func(kind string, i, n int, seal func(img []byte, p []byte)) {
		a.add(kind, int(blocks[i])*a.bs, n, ino, func(img []byte) {
			if sum {
				seal(img, block(img, i))
			}
		})
	}
	put("journal superblock", 0, 0x100, func(_, p []byte) { be.PutUint32(p[0xfc:], disk.JournalSuperChecksum(p)) })
	tail := func(_, p []byte) { disk.SetJournalTail(js.Seed(), p) }
	copies := 0 // blocks that follow a descriptor
	for i := 1; i < len(blocks); i++ {
		if copies > 0 {
			copies--
			continue
		}
		p := block(a.img, i)
		var h disk.JournalHeader
		if h.Decode(p); h.Magic != disk.JournalMagic {
			continue
		}
		switch h.Type {
		case disk.JournalDescriptor:
			put("journal descriptor", i, a.bs, tail)
			size := js.TagSize()
			for at := disk.JournalHeaderSize; at+size <= a.bs-disk.JournalTailSize; at += size {
				tag := js.DecodeTag(p[at:])
				if copies++; i+copies >= len(blocks) {
					return
				}
				where := at
				put("block in the journal", i+copies, a.bs, func(img, p []byte) {
					if js.FeatureIncompat&disk.JournalIncompatCsumV3 != 0 {
						be.PutUint32(block(img, i)[where+12:], disk.JournalDataChecksum(js.Seed(), h.Sequence, p))
						tail(img, block(img, i))
					}
				})
				if tag.Flags&disk.JournalTagSameUUID == 0 {
					at += 16
				}
				if tag.Flags&disk.JournalTagLast != 0 {
					break
				}
			}
		case disk.JournalRevoke:
			put("journal revoke", i, a.bs, tail)
		case disk.JournalCommit:
			put("journal commit", i, 0x40, func(_, p []byte) {
				be.PutUint32(p[0x10:], disk.JournalCommitChecksum(js.Seed(), p))
			})
		}
	}
}
