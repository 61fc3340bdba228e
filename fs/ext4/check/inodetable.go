package check

import "pinhole/fs/ext4/disk"

// inodeKind says what an inode is: in the low bits the file type as in directory entries, 0 for
// one that is not in use.
type inodeKind uint8

const (
	kindType     inodeKind = 0x0f
	kindBad      inodeKind = 0x0f // in use, but of no type that exists
	kindReserved inodeKind = 0x10 // in use without a name
	kindOrphan   inodeKind = 0x20 // on the orphan list or in the orphan file
)

// inUse tells whether the inode counts as used; an orphan that was not scanned yet does not.
func (k inodeKind) inUse() bool { return k&(kindType|kindReserved) != 0 }

func (k inodeKind) isDir() bool { return k&kindType == disk.TypeDir }

// inodePiece is the inodes of one piece of the table.
const inodePiece = 1024

type inodes struct {
	links [inodePiece]uint16 // that the inode says it has
	names [inodePiece]uint16 // that were found
	kind  [inodePiece]inodeKind
}

// inodeTable is what is known of each inode.
type inodeTable struct {
	pieces []*inodes
	// many counts the names of inodes that have more than 65535.
	many map[uint32]uint32
}

func (t *inodeTable) init(n uint32) {
	t.pieces = make([]*inodes, (uint64(n)+inodePiece)/inodePiece)
	t.many = make(map[uint32]uint32)
}

// at returns the piece of an inode, and its place there; made tells whether the piece is to be made
// if need be, otherwise it may be nil.
func (t *inodeTable) at(ino uint32, made bool) (*inodes, uint32) {
	i := ino - 1
	p := t.pieces[i/inodePiece]
	if p == nil && made {
		p = new(inodes)
		t.pieces[i/inodePiece] = p
	}
	return p, i % inodePiece
}

func (t *inodeTable) kind(ino uint32) inodeKind {
	p, i := t.at(ino, false)
	if p == nil {
		return 0
	}
	return p.kind[i]
}

func (t *inodeTable) set(ino uint32, k inodeKind, links uint16) {
	p, i := t.at(ino, true)
	p.kind[i] = k | p.kind[i]&kindOrphan
	p.links[i] = links
}

func (t *inodeTable) mark(ino uint32, k inodeKind) {
	p, i := t.at(ino, true)
	p.kind[i] |= k
}

// addName counts one more name of an inode.
func (t *inodeTable) addName(ino uint32) {
	p, i := t.at(ino, true)
	if p.names[i] < 1<<16-1 {
		p.names[i]++
		return
	}
	if t.many[ino] == 0 {
		t.many[ino] = 1<<16 - 1
	}
	t.many[ino]++
}

// names returns how many names an inode of piece p has.
func (t *inodeTable) names(p *inodes, i uint32, ino uint32) uint32 {
	if n := uint32(p.names[i]); n < 1<<16-1 {
		return n
	}
	return max(t.many[ino], 1<<16-1)
}
