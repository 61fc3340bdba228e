package check

import (
	"hash/maphash"
	"slices"

	"pinhole/fs/ext4/disk"
)

// maxNames bounds the memory for the names of one directory: beyond, only names among as many in a
// row are compared.
const maxNames = 1 << 24

// nameSet finds names that are in a directory more than once. It keeps hashes under a seed that
// nobody can know, so that equal hashes are equal names.
type nameSet struct {
	seed   maphash.Seed
	hashes []uint64
	found  []uint64 // hashes of names that were there twice
}

func (s *nameSet) reset() {
	if s.hashes == nil {
		s.seed = maphash.MakeSeed()
		s.hashes = make([]uint64, 0, 1024)
	}
	s.hashes = s.hashes[:0]
	s.found = nil
}

func (s *nameSet) add(name []byte) {
	if len(s.hashes) == maxNames {
		s.look()
		s.hashes = s.hashes[:0]
	}
	s.hashes = append(s.hashes, maphash.Bytes(s.seed, name))
}

func (s *nameSet) look() {
	slices.Sort(s.hashes)
	for i := 1; i < len(s.hashes); i++ {
		if s.hashes[i] == s.hashes[i-1] && (i < 2 || s.hashes[i] != s.hashes[i-2]) && len(s.found) < maxProblems {
			s.found = append(s.found, s.hashes[i])
		}
	}
}

// duplicates returns the hashes of the names that are there more than once.
func (s *nameSet) duplicates() []uint64 {
	s.look()
	slices.Sort(s.found)
	s.found = slices.Compact(s.found)
	return s.found
}

// duplicates goes once more over the directory, to tell the names with these hashes.
func (c *checker) duplicates(hashes []uint64) error {
	d := &c.dir
	told := make(map[uint64]bool)
	for _, r := range d.runs {
		if r.n&runShared != 0 {
			continue
		}
		for i := range r.n {
			if err := c.read(c.block, r.block+uint64(i)); err != nil {
				return err
			}
			for at := 0; at+disk.DirentHeader <= c.bs; {
				var e disk.Dirent
				e.Decode(c.block[at:])
				if e.RecLen < disk.DirentHeader+e.NameLen || e.RecLen > c.bs-at {
					break
				}
				name := c.block[at+disk.DirentHeader:][:e.NameLen]
				at += e.RecLen
				h := maphash.Bytes(d.names.seed, name)
				if _, ok := slices.BinarySearch(hashes, h); !ok || e.Ino == 0 {
					continue
				}
				if !told[h] {
					told[h] = true
					continue
				}
				prob := inInode(DirDuplicate, d.ino).logical(uint64(r.logical + i)).onBlock(r.block + uint64(i))
				if err := c.add(prob.named(name), "a name is there more than once"); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
