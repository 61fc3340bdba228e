package check

import (
	"cmp"
	"errors"
	"slices"

	"pinhole/fs/ext4/disk"
)

// fileMap goes over the blocks of one inode, in the order of the file.
type fileMap struct {
	c     *checker
	ino   uint32
	inode *disk.Inode
	seed  uint32
	dir   bool
	// quiet: problems were told in an earlier walk.
	quiet bool
	// node is told each block of the map itself, and says whether to look into it.
	node func(b uint64) (descend bool, err error)
	// data is told each run of blocks of the file.
	data func(logical, n, b uint64, unwritten bool) error

	next   uint64 // first logical block behind those that were seen
	levels [maxDepth + 1]level
	depth  int
}

// level is one level of an extent tree.
type level struct{ entries, room int }

// maxDepth is the depth of the deepest tree, of 1 KiB blocks.
const maxDepth = 5

// fileRun is a piece of a file that lies together on the device.
type fileRun struct{ logical, n, block uint64 }

func (m *fileMap) add(p Problem, format string, args ...any) error {
	if m.quiet {
		return nil
	}
	return m.c.add(p, format, args...)
}

// walk goes over the inode's blocks.
func (m *fileMap) walk() error {
	if m.inode.Flags&disk.InodeExtents != 0 {
		return m.extents()
	}
	return m.indirect()
}

// hasMap tells whether the block area of an inode is a map of blocks.
func hasMap(n *disk.Inode) bool {
	switch n.Mode & modeType {
	case modeReg, modeDir:
	case modeLnk:
		if n.FileACL == 0 {
			if uint32(n.Blocks) == 0 {
				return false
			}
		} else if n.Size < disk.BlockAreaSize && (n.Size <= 4 || le.Uint32(n.Block[4:]) != 0) {
			return false
		}
	default:
		return false
	}
	return n.Flags&disk.InodeInline == 0
}

// errGiveUp ends a walk whose result is of no use any more.
var errGiveUp = errors.New("check: more than a file of the file system has")

// fileRuns returns the blocks of a file of the file system itself, without judging or claiming them.
// It gives up, with ok false, if the map is broken, takes more than limit nodes or runs, or has a
// block more than once.
func (c *checker) fileRuns(ino uint32, n *disk.Inode, limit int) (runs []fileRun, ok bool, err error) {
	seen := make(map[uint64]bool)
	m := fileMap{c: c, ino: ino, inode: n, seed: c.inodeSeed(ino, n.Generation), quiet: true}
	m.node = func(b uint64) (bool, error) {
		if seen[b] || len(seen) == limit {
			return false, errGiveUp
		}
		seen[b] = true
		return true, nil
	}
	m.data = func(l, k, b uint64, _ bool) error {
		if i := len(runs) - 1; i >= 0 && runs[i].logical+runs[i].n == l && runs[i].block+runs[i].n == b {
			runs[i].n += k
		} else if len(runs) < limit {
			runs = append(runs, fileRun{l, k, b})
		} else {
			return errGiveUp
		}
		return nil
	}
	if err := m.walk(); err == errGiveUp {
		return runs, false, nil
	} else if err != nil {
		return nil, false, err
	}
	return runs, !overlapping(runs), nil
}

// overlapping tells whether two of the runs share a block: whoever reads all of them would read it again and
// again.
func overlapping(runs []fileRun) bool {
	byBlock := slices.SortedFunc(slices.Values(runs), func(a, b fileRun) int { return cmp.Compare(a.block, b.block) })
	for i := 1; i < len(byBlock); i++ {
		if byBlock[i-1].block+byBlock[i-1].n > byBlock[i].block {
			return true
		}
	}
	return false
}
