package ext4

import (
	"bytes"
	"cmp"
	"slices"

	"pinhole/fs/ext4/disk"
)

// Inodes with the same attributes share their block of them. It is counted how many do, and whoever
// changes attributes gets a block of its own first.

// maxXattrUsers is how many inodes Linux lets share a block.
const maxXattrUsers = 1024

// maxXattrHashes is how many blocks are remembered, to be shared.
const maxXattrHashes = 1024

// xattrHashes finds blocks of attributes by the hash of their content. It is guarded by FS.xattrMu,
// as is the content of all such blocks.
type xattrHashes struct {
	blocks map[uint32]uint64
	hashes map[uint64]uint32 // the inverse
	ring   [maxXattrHashes]uint64
	next   int
}

// add remembers a block.
func (x *xattrHashes) add(nr uint64, hash uint32) {
	if x.blocks == nil {
		x.blocks, x.hashes = make(map[uint32]uint64), make(map[uint64]uint32)
	}
	if old, ok := x.hashes[nr]; ok && old == hash {
		return
	}
	x.remove(nr)
	if hash == 0 {
		return // not to be shared
	}
	if old, ok := x.blocks[hash]; ok {
		x.remove(old)
	}
	x.remove(x.ring[x.next])
	x.ring[x.next] = nr
	x.next = (x.next + 1) % len(x.ring)
	x.blocks[hash], x.hashes[nr] = nr, hash
}

// remove forgets a block, which is freed or changed.
func (x *xattrHashes) remove(nr uint64) {
	if hash, ok := x.hashes[nr]; ok {
		delete(x.hashes, nr)
		delete(x.blocks, hash)
	}
}

// checkXattrBlock is the check of a buffer in roleXattr.
func checkXattrBlock(fs *FS, b *buffer, r role, _ uint32) error {
	var h disk.XattrHeader
	h.Decode(b.data)
	if h.Magic != disk.XattrMagic || h.Blocks != 1 || h.Refcount == 0 {
		return fs.corruptBlock(0, b.nr, "block of extended attributes with magic number %#x, %d blocks, %d users", h.Magic, h.Blocks, h.Refcount)
	}
	if fs.hasCsum {
		if want := disk.XattrBlockChecksum(fs.csumSeed, b.nr, b.data); h.Checksum != want {
			return fs.corruptBlock(0, b.nr, "checksum of extended attributes is %#x, should be %#x", h.Checksum, want)
		}
	}
	return nil
}

// xattrBlock reads the inode's block of attributes, nil if it has none.
func (n *inode) xattrBlock() (*buffer, error) {
	if n.d.FileACL == 0 {
		return nil, nil
	}
	return n.fs.buffers.read(n.d.FileACL, makeRole(roleXattr, 0), 0, checkXattrBlock)
}

// blockXattrs reads the attributes in the inode's block.
func (n *inode) blockXattrs() ([]xattr, error) {
	b, err := n.xattrBlock()
	if b == nil || err != nil {
		return nil, err
	}
	defer n.fs.buffers.put(b)
	n.fs.xattrMu.Lock()
	defer n.fs.xattrMu.Unlock()
	n.fs.xattrHashes.add(b.nr, le.Uint32(b.data[12:]))
	return n.parseXattrs(b.nr, b.data[disk.XattrBlockHeader:], b.data)
}

// xattrCredits bounds what changing attributes changes: the inode, its old block and that block's
// return, and a new one or another one that is shared.
const xattrCredits = superCredits + attrCredits + 1 + allocCredits + 1 + allocCredits

// putXattrBlock makes list the attributes in the inode's block: in one that has the same already, in
// its old one if that is its own, or in a new one; without a block if the list is empty.
func (n *inode) putXattrBlock(h handle, list []xattr) error {
	fs := n.fs
	if len(list) == 0 {
		return n.dropXattrBlock(h)
	}
	slices.SortFunc(list, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	content := make([]byte, fs.bs)
	hash := disk.XattrBlockHash(buildXattrs(list, content[disk.XattrBlockHeader:], content))
	hdr := disk.XattrHeader{Magic: disk.XattrMagic, Refcount: 1, Blocks: 1, Hash: hash}
	hdr.Encode(content)

	fs.xattrMu.Lock()
	defer fs.xattrMu.Unlock()
	b, err := n.xattrBlock()
	if err != nil {
		return err
	}
	defer func() { fs.buffers.put(b) }()
	same, err := fs.sameXattrs(h, content, hash, n.d.FileACL)
	if err != nil {
		return err
	}
	if same == 0 && b != nil && le.Uint32(b.data[4:]) == 1 {
		h.access(b)
		copy(b.data, content)
		fs.xattrHashes.add(b.nr, hash)
		return nil
	}
	if same == 0 {
		start, _, err := fs.allocRun(h, n.goal(0), 1)
		if err != nil {
			return err
		}
		fresh := fs.buffers.create(start, makeRole(roleXattr, 0), 0)
		h.access(fresh)
		copy(fresh.data, content)
		fs.buffers.put(fresh)
		fs.xattrHashes.add(start, hash)
		same = start
	}
	if b != nil {
		if err := n.leaveXattrBlock(h, b); err != nil {
			return err
		}
	} else {
		n.addBlocks(1)
	}
	n.d.FileACL = same
	return nil
}

// sameXattrs looks for a block other than own with the same content, and counts another user of it.
// It returns 0 if there is none. xattrMu is held.
func (fs *FS) sameXattrs(h handle, content []byte, hash uint32, own uint64) (uint64, error) {
	nr, ok := fs.xattrHashes.blocks[hash]
	if !ok || hash == 0 || nr == own {
		return 0, nil
	}
	b, err := fs.buffers.read(nr, makeRole(roleXattr, 0), 0, checkXattrBlock)
	if err != nil {
		return 0, err
	}
	defer fs.buffers.put(b)
	users := le.Uint32(b.data[4:])
	if users >= maxXattrUsers || !bytes.Equal(b.data[disk.XattrBlockHeader:], content[disk.XattrBlockHeader:]) {
		return 0, nil
	}
	h.access(b)
	le.PutUint32(b.data[4:], users+1)
	return nr, nil
}

// leaveXattrBlock discounts a user of b, and frees it if nobody else has it. xattrMu is held.
func (n *inode) leaveXattrBlock(h handle, b *buffer) error {
	users := le.Uint32(b.data[4:])
	if users > 1 {
		h.access(b)
		le.PutUint32(b.data[4:], users-1)
		return nil
	}
	n.fs.xattrHashes.remove(b.nr)
	if err := n.fs.freeRun(h, b.nr, 1); err != nil {
		return err
	}
	h.forget(b.nr)
	return nil
}

// dropXattrBlock gives up the inode's block of attributes.
func (n *inode) dropXattrBlock(h handle) error {
	n.fs.xattrMu.Lock()
	defer n.fs.xattrMu.Unlock()
	b, err := n.xattrBlock()
	if b == nil || err != nil {
		return err
	}
	err = n.leaveXattrBlock(h, b)
	n.fs.buffers.put(b)
	if err != nil {
		return err
	}
	n.d.FileACL = 0
	n.addBlocks(-1)
	return nil
}
