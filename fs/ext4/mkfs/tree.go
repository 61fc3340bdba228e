package mkfs

import (
	"fmt"
	"math"
	"strings"
	"time"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// node is a file of the new file system.
type node struct {
	ino     uint32
	inode   disk.Inode
	content []byte // of a file or directory, to be written to runs
	runs    []run
	tree    []treeBlock // of its map

	// Of a directory.
	parent  *node
	entries []entry
	names   map[string]*node
}

// treeBlock is a block of the map of a file's blocks.
type treeBlock struct {
	block int64
	data  []byte
}

type entry struct {
	name string
	node *node
}

// lostFoundSize is how large lost+found is made, so that e2fsck finds room in it, if that takes no
// indirect block.
const lostFoundSize = 16384

// populate makes root directory, lost+found, the files of the file system's own, and those that are
// asked for.
func (b *builder) populate() error {
	root := b.newNode(disk.RootInode, nil, abi.S_IFDIR|0o755, b.o.Time)
	root.parent = root
	root.inode.UID, root.inode.GID = b.o.RootUID, b.o.RootGID
	lost := b.newNode(lostFound, root, abi.S_IFDIR|0o700, b.o.Time)
	root.add("lost+found", lost)

	ino := uint32(firstInode + 1)
	orphans := ino
	journal := !b.o.NoJournal && (b.o.JournalSize != 0 || journalBlocks(int64(b.sb.BlocksCount)) != 0)
	if journal && !b.o.NoOrphanFile {
		ino++
	}
	for i := range b.o.Files {
		f := &b.o.Files[i]
		n, err := b.file(root, f, &ino)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		n.inode.UID, n.inode.GID = f.UID, f.GID
	}
	if int64(ino)-1 > int64(b.sb.InodesCount) {
		return fmt.Errorf("%w: %d files", ErrNoRoom, ino-firstInode-1)
	}
	for _, n := range b.nodes {
		if err := b.place(n); err != nil {
			return err
		}
	}
	if orphans < ino && journal && !b.o.NoOrphanFile {
		if err := b.orphanFile(orphans); err != nil {
			return err
		}
	}
	if err := b.resizeInode(); err != nil {
		return err
	}
	return b.journal()
}

// newNode makes a node, in the directory parent.
func (b *builder) newNode(ino uint32, parent *node, mode uint32, t time.Time) *node {
	n := &node{ino: ino, parent: parent}
	n.inode.Mode = uint16(mode)
	n.inode.Links = 1
	n.inode.ExtraIsize = disk.ExtraIsize
	made := stamp(b.o.Time)
	n.inode.Atime, n.inode.Mtime = stamp(t), stamp(t)
	n.inode.Ctime, n.inode.Crtime = made, made
	if mode&abi.S_IFMT == abi.S_IFDIR {
		n.names = make(map[string]*node)
		n.inode.Links = 2
	}
	b.nodes = append(b.nodes, n)
	return n
}

func stamp(t time.Time) disk.Time {
	return disk.ClampTime(disk.Time{Sec: t.Unix(), Nsec: int32(t.Nanosecond())}, true)
}

func (d *node) add(name string, n *node) {
	d.entries = append(d.entries, entry{name, n})
	d.names[name] = n
	if n.names != nil {
		d.inode.Links++
	}
}

// file makes the node of f and the directories above it.
func (b *builder) file(root *node, f *File, ino *uint32) (*node, error) {
	if !strings.HasPrefix(f.Path, "/") {
		return nil, fmt.Errorf("the path must be absolute")
	}
	dir := root
	parts := strings.FieldsFunc(f.Path, func(c rune) bool { return c == '/' })
	for i, name := range parts {
		switch {
		case name == "." || name == ".." || strings.IndexByte(name, 0) >= 0:
			return nil, fmt.Errorf("%q cannot be the name of a file", name)
		case len(name) > disk.MaxNameLen:
			return nil, fmt.Errorf("a name is longer than %d bytes", disk.MaxNameLen)
		case dir.names == nil:
			return nil, abi.ENOTDIR
		}
		next, last := dir.names[name], i == len(parts)-1
		if next == nil {
			mode, t := uint32(abi.S_IFDIR|0o755), b.o.Time
			if last {
				if mode = f.Mode; mode&abi.S_IFMT == 0 {
					mode |= abi.S_IFREG
				}
				if !f.Time.IsZero() {
					t = f.Time
				}
			}
			if len(dir.entries) >= math.MaxUint16-2 && mode&abi.S_IFMT == abi.S_IFDIR {
				return nil, abi.EMLINK
			}
			next = b.newNode(*ino, dir, mode, t)
			*ino++
			dir.add(name, next)
		} else if last && (f.Mode&abi.S_IFMT != abi.S_IFDIR || next.names == nil) {
			return nil, abi.EEXIST
		}
		dir = next
	}
	if len(parts) == 0 && f.Mode&abi.S_IFMT != abi.S_IFDIR {
		return nil, abi.EISDIR
	}
	dir.inode.Mode = dir.inode.Mode&abi.S_IFMT | uint16(f.Mode&0o7777)
	dir.content = f.Content
	switch dir.inode.Mode & abi.S_IFMT {
	case abi.S_IFREG:
	case abi.S_IFDIR:
		dir.content = nil
	case abi.S_IFLNK:
		if len(f.Content) == 0 || len(f.Content) >= int(b.bs) {
			return nil, fmt.Errorf("the target of a symbolic link has 1 to %d bytes", b.bs-1)
		}
	default:
		return nil, fmt.Errorf("only regular files, directories and symbolic links are made here")
	}
	return dir, nil
}

// place gives a node its blocks.
func (b *builder) place(n *node) error {
	if n.names != nil {
		n.content = b.directory(n)
	}
	n.inode.Size = uint64(len(n.content))
	if n.inode.Mode&abi.S_IFMT == abi.S_IFLNK && len(n.content) < disk.BlockAreaSize {
		copy(n.inode.Block[:], n.content)
		n.content = nil
		return nil
	}
	var err error
	if n.runs, err = b.alloc(ceilDiv(int64(len(n.content)), b.bs)); err != nil {
		return err
	}
	return b.extents(n, n.runs)
}

var dirTypes = map[uint32]uint8{
	abi.S_IFREG: disk.TypeReg, abi.S_IFDIR: disk.TypeDir, abi.S_IFLNK: disk.TypeLnk,
}

// directory returns the blocks of a directory: linear, which is right at any size.
func (b *builder) directory(d *node) []byte {
	usable := int(b.bs) - disk.DirentTailSize
	seed := disk.InodeSeed(b.seed, d.ino, 0)
	var out, block []byte
	at, last := 0, 0 // in block
	seal := func() {
		// The last entry reaches to the end.
		var e disk.Dirent
		if at == 0 {
			e.RecLen = usable
			e.Encode(block)
		} else {
			e.Decode(block[last:])
			e.RecLen = usable - last
			e.Encode(block[last:])
		}
		disk.InitDirTail(block)
		disk.SetDirChecksum(seed, block)
	}
	open := func() {
		out = append(out, make([]byte, b.bs)...)
		block = out[len(out)-int(b.bs):]
		at, last = 0, 0
	}
	put := func(name string, n *node) {
		size := disk.DirentSize(len(name))
		if at+size > usable {
			seal()
			open()
		}
		disk.PutDirent(block[at:], n.ino, size, dirTypes[uint32(n.inode.Mode)&abi.S_IFMT], name)
		last = at
		at += size
	}
	open()
	put(".", d)
	put("..", d.parent)
	for _, e := range d.entries {
		put(e.name, e.node)
	}
	seal()
	for d.ino == lostFound && len(out) < min(lostFoundSize, disk.DirectBlocks*int(b.bs)) {
		open()
		seal()
	}
	return out
}
