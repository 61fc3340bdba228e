package check

import (
	"bytes"
	"fmt"

	"pinhole/fs/ext4/disk"
)

// dirInfo is a directory.
type dirInfo struct {
	ino    uint32
	parent uint32 // directory that names it; 0: none so far
	dotdot uint32 // what its ".." says
	run    uint32 // first of its runs in checker.runs
	seed   uint32 // of its checksums
	flags  uint8
}

const (
	dirIndexed = 1 << iota // has the flag for a hash tree
	dirDone                // is known to be reached from the root, or told to be lost
)

// dirRun is blocks of a directory that lie together. In n, runShared says that another file claimed
// some of them first: they are not looked at, for nobody knows whose they are.
type dirRun struct {
	logical, n uint32
	block      uint64
}

const runShared = 1 << 31

func (r dirRun) len() uint32 { return r.n &^ runShared }

// addRun notes blocks of the directory that is being scanned.
func (c *checker) addRun(logical, n, b uint64, shared bool) {
	mine := c.runs[c.dirs[len(c.dirs)-1].run:]
	if i := len(mine) - 1; i >= 0 && !shared && mine[i].n&runShared == 0 && uint64(mine[i].n)+n < runShared &&
		uint64(mine[i].logical+mine[i].n) == logical && mine[i].block+uint64(mine[i].n) == b {
		mine[i].n += uint32(n)
		return
	}
	for n > 0 {
		k := min(n, runShared-1)
		r := dirRun{uint32(logical), uint32(k), b}
		if shared {
			r.n |= runShared
		}
		c.runs = append(c.runs, r)
		logical, n, b = logical+k, n-k, b+k
	}
}

// dirScan is the directory that is being looked at.
type dirScan struct {
	*dirInfo
	buf   []byte
	runs  []dirRun
	names nameSet
	index index
	type_ bool // entries have file types
	// Hash of names.
	version disk.HashVersion
}

const dirChunk = 256 << 10 // bytes of a directory that are read at once

// directories is pass 2.
func (c *checker) directories() error {
	d := &c.dir
	d.buf = make([]byte, max(dirChunk, c.bs))
	d.type_ = c.hasIncompat(disk.IncompatFiletype)
	for i := range c.dirs {
		if i%64 == 0 {
			if err := c.tick(int64(i), int64(len(c.dirs))); err != nil {
				return err
			}
		}
		end := uint32(len(c.runs))
		if i+1 < len(c.dirs) {
			end = c.dirs[i+1].run
		}
		d.dirInfo = &c.dirs[i]
		d.runs = c.runs[d.run:end]
		if err := c.directory(); err != nil {
			return err
		}
	}
	return nil
}

// directory checks one directory.
func (c *checker) directory() error {
	d := &c.dir
	d.names.reset()
	d.index.reset()
	if d.flags&dirIndexed != 0 && len(d.runs) > 0 {
		if err := c.htree(); err != nil {
			return err
		}
	}
	next := uint32(0)
	blocks := 0
	for _, r := range d.runs {
		if r.logical > next {
			if err := c.add(inInode(DirHole, d.ino).logical(uint64(next)), "%d blocks of the directory are missing", r.logical-next); err != nil {
				return err
			}
		}
		next = r.logical + r.len()
		if r.n&runShared != 0 {
			continue
		}
		for at, n := r.block, uint64(r.n); n > 0; {
			k := min(n, uint64(len(d.buf)/c.bs))
			p := d.buf[:k<<c.bits]
			if err := c.read(p, at); err != nil {
				return err
			}
			if err := c.o.Context.Err(); err != nil {
				return c.tick(0, 0)
			}
			for i := range k {
				logical := uint64(r.logical) + at + i - r.block
				if err := c.dirBlock(p[i<<c.bits:][:c.bs], logical, at+i); err != nil {
					return err
				}
				blocks++
			}
			at, n = at+k, n-k
		}
	}
	if err := c.htreeBlocks(next); err != nil {
		return err
	}
	if dup := d.names.duplicates(); dup != nil {
		return c.duplicates(dup)
	}
	return nil
}

// dirBlock checks one block of a directory.
func (c *checker) dirBlock(p []byte, logical, b uint64) error {
	d := &c.dir
	role := d.index.role(logical)
	if role != nil && role.node {
		return c.dirNode(p, role, logical, b)
	}
	prob := inInode(DirEntry, d.ino).logical(logical).onBlock(b)
	end := len(p)
	if c.csum && !(logical == 0 && d.index.root) {
		prob := prob
		prob.Code = DirChecksum
		if !disk.HasDirTail(p) {
			if err := c.add(prob, "a block of the directory has no checksum"); err != nil {
				return err
			}
		} else {
			end -= disk.DirentTailSize
			if have, want := disk.StoredDirChecksum(p), disk.DirBlockChecksum(d.seed, p); have != want {
				if err := c.add(prob, "a block of the directory has checksum %#08x, should have %#08x", have, want); err != nil {
					return err
				}
			}
		}
	}
	nr := 2
	if logical == 0 {
		nr = 0
	}
	for at := 0; at < end; nr++ {
		var e disk.Dirent
		if at+disk.DirentHeader > len(p) {
			return c.add(prob, "an entry at byte %d is cut off", at)
		}
		e.Decode(p[at:])
		if e.RecLen == 1<<16 && c.bs < 1<<16 && le.Uint16(p[at+4:]) == 0 {
			e.RecLen = 0
		}
		if e.RecLen > end-at || e.RecLen < disk.DirentSize(1) || e.RecLen%4 != 0 || e.NameLen+disk.DirentHeader > e.RecLen {
			return c.add(prob, "an entry at byte %d has a length of %d bytes, and a name of %d", at, e.RecLen, e.NameLen)
		}
		name := p[at+disk.DirentHeader:][:e.NameLen]
		if err := c.dirEntry(prob, e, name, p[at:at+e.RecLen], nr); err != nil {
			return err
		}
		if e.Ino != 0 && role != nil && d.index.leaves {
			if err := c.leafHash(prob, role, name); err != nil {
				return err
			}
		}
		at += e.RecLen
	}
	return nil
}

// dirEntry checks entry number nr of a directory; numbers 0 and 1 are in its first block alone.
func (c *checker) dirEntry(prob Problem, e disk.Dirent, name, rec []byte, nr int) error {
	d := &c.dir
	switch nr {
	case 0:
		why := ""
		switch {
		case e.Ino == 0:
			why = "there is none"
		case string(name) != ".":
			why = fmt.Sprintf("%q is in its place", name)
		case rec[disk.DirentHeader+1] != 0:
			why = "its name has no end"
		case e.Ino != d.ino:
			why = fmt.Sprintf("it is inode %d", e.Ino)
		case e.RecLen > disk.DirentSize(1)+disk.DirentSize(4):
			why = fmt.Sprintf("it takes %d bytes", e.RecLen)
		}
		if why != "" {
			prob := prob
			prob.Code = DirDot
			if err := c.add(prob, "something is wrong with \".\": %s", why); err != nil {
				return err
			}
		}
	case 1:
		why := ""
		switch {
		case e.Ino == 0:
			why = "there is none"
		case string(name) != "..":
			why = fmt.Sprintf("%q is in its place", name)
		case rec[disk.DirentHeader+2] != 0:
			why = "its name has no end"
		}
		if why != "" {
			prob := prob
			prob.Code = DirDotDot
			if err := c.add(prob, "something is wrong with \"..\": %s", why); err != nil {
				return err
			}
		}
		d.dotdot = e.Ino
	}
	if e.Ino == 0 {
		return nil
	}
	prob = prob.named(name)
	ok, err := c.dirInode(prob, e, name, nr)
	if err != nil || !ok {
		return err
	}
	if bytes.ContainsAny(name, "/\x00") {
		prob := prob
		prob.Code = DirName
		if err := c.add(prob, "a name holds a slash or a zero"); err != nil {
			return err
		}
	}
	if err := c.dirType(prob, e); err != nil {
		return err
	}
	if nr > 1 && c.table.kind(e.Ino).isDir() {
		if err := c.dirParent(prob, e.Ino); err != nil {
			return err
		}
	}
	d.names.add(name)
	c.table.addName(e.Ino)
	return nil
}

// dirInode tells whether an entry names an inode that it may.
func (c *checker) dirInode(prob Problem, e disk.Dirent, name []byte, nr int) (bool, error) {
	if e.Ino != disk.RootInode && e.Ino < c.sb.FirstIno || e.Ino > c.inodes || e.Ino == c.sb.OrphanFileInum {
		prob.Code = DirInode
		return false, c.add(prob, "inode %d cannot have a name", e.Ino)
	}
	if nr > 1 {
		why := ""
		code := DirName
		switch {
		case e.Ino == c.dir.ino:
			why, code = "a link to the directory itself", DirLink
		case string(name) == "." || string(name) == "..":
			why = "not where it belongs"
		case e.Ino == disk.RootInode:
			why, code = "a link to the root", DirLink
		case len(name) == 0:
			why = "without a name"
		}
		if why != "" {
			prob := prob
			prob.Code = code
			if err := c.add(prob, "an entry is %s", why); err != nil {
				return false, err
			}
		}
	}
	prob.Code = DirInode
	g := &c.groups[(e.Ino-1)/c.perTable]
	if g.Flags&disk.GroupInodeUninit != 0 || (e.Ino-1)%c.perTable >= c.perTable-g.ItableUnused {
		return false, c.add(prob, "inode %d is where the group's descriptor says that none is in use", e.Ino)
	}
	if c.table.kind(e.Ino)&kindType == 0 {
		return false, c.add(prob, "inode %d is not in use", e.Ino)
	}
	return true, nil
}

// dirType checks the file type in an entry.
func (c *checker) dirType(prob Problem, e disk.Dirent) error {
	prob.Code = DirType
	if !c.dir.type_ {
		if e.Type != 0 {
			return c.add(prob, "a name of %d bytes is too long", int(e.Type)<<8|e.NameLen)
		}
		return nil
	}
	want := uint8(c.table.kind(e.Ino) & kindType)
	if want == uint8(kindBad) {
		want = 0
	}
	if e.Type == disk.TypeUnknown && want != 0 {
		// Whoever reads it has to look at the inode.
		return c.add(prob.as(Note), "the type is not there")
	}
	if e.Type != want {
		return c.add(prob, "the type is %d, that of inode %d is %d", e.Type, e.Ino, want)
	}
	return nil
}

// dirParent notes that the directory being looked at names another.
func (c *checker) dirParent(prob Problem, ino uint32) error {
	i, ok := c.findDir(ino)
	if !ok {
		return nil
	}
	if old := c.dirs[i].parent; old != 0 {
		prob.Code = DirLink
		return c.add(prob, "directory %d has another name, in directory %d", ino, old)
	}
	c.dirs[i].parent = c.dir.ino
	return nil
}
