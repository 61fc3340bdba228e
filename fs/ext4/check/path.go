package check

import (
	"slices"
	"strings"

	"pinhole/fs/ext4/disk"
)

// paths finds where the inodes of the problems are in the tree, for who reads them.
func (c *checker) paths() error {
	// The inodes, and the directories above them.
	type name struct {
		dir  uint32
		name string
	}
	wanted := make(map[uint32]name)
	for _, p := range c.r.Problems {
		for ino := p.Inode; ino != 0; {
			if _, ok := wanted[ino]; ok {
				break
			}
			wanted[ino] = name{}
			i, ok := c.findDir(ino)
			if !ok {
				break
			}
			ino = c.dirs[i].parent
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	scan := func(p []byte, dir uint32) {
		for at := 0; at+disk.DirentHeader <= len(p); {
			var e disk.Dirent
			e.Decode(p[at:])
			if e.RecLen < disk.DirentHeader+e.NameLen || e.RecLen > len(p)-at {
				break
			}
			old, ok := wanted[e.Ino]
			text := string(p[at+disk.DirentHeader:][:e.NameLen])
			at += e.RecLen
			if !ok || old.dir != 0 || text == "." || text == ".." {
				continue
			}
			if i, is := c.findDir(e.Ino); is {
				if c.dirs[i].parent == dir {
					wanted[e.Ino] = name{dir, text}
				}
				continue
			}
			wanted[e.Ino] = name{dir, text}
			// Its directories are wanted now, too: they may have been passed, but mostly have not.
			for up := dir; up != 0; {
				if _, ok := wanted[up]; ok {
					break
				}
				wanted[up] = name{}
				i, _ := c.findDir(up)
				up = c.dirs[i].parent
			}
		}
	}
	// Twice: the second time for the directories of files.
	for range 2 {
		for i := range c.dirs {
			if i%64 == 0 {
				if err := c.tick(int64(i), int64(len(c.dirs))); err != nil {
					return err
				}
			}
			for _, r := range c.dirRuns(i) {
				if r.n&runShared != 0 {
					continue
				}
				for b, end := r.block, r.block+uint64(r.n); b < end; b++ {
					if err := c.read(c.block, b); err != nil {
						return err
					}
					scan(c.block, c.dirs[i].ino)
				}
			}
		}
	}
	const longest = 4096 // PATH_MAX
	var names []string
	for i := range c.r.Problems {
		p := &c.r.Problems[i]
		names = names[:0]
		ino := p.Inode
		// Names may lead round in a circle.
		for n := 0; ino != disk.RootInode && ino != 0 && n < longest; {
			w := wanted[ino]
			if w.dir != 0 {
				names = append(names, w.name)
				n += len("/") + len(w.name)
			}
			ino = w.dir
		}
		switch {
		case p.Inode == disk.RootInode:
			p.Path = "/"
		case ino == disk.RootInode:
			slices.Reverse(names)
			p.Path = "/" + strings.Join(names, "/")
		}
	}
	return nil
}
