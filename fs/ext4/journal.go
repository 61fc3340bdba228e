package ext4

import (
	"errors"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/ext4/jbd2"
)

// journalRuns returns where the journal is.
func (fs *FS) journalRuns() ([]jbd2.Run, error) {
	ino := fs.sb.JournalInum
	if ino > fs.inodesCount {
		return nil, fs.corruptInode(ino, "the superblock says that it is the journal")
	}
	n := &inode{fs: fs, ino: ino}
	if err := fs.loadInode(n); err != nil {
		return nil, err
	}
	if !isType(uint32(n.d.Mode), abi.S_IFREG) || n.d.Links == 0 {
		return nil, fs.corruptInode(ino, "the journal is not a file (mode %#o, %d links)", n.d.Mode, n.d.Links)
	}
	if err := n.loadRuns(); err != nil {
		return nil, err
	}
	if n.runs.big {
		return nil, errors.New("the journal's file has too many extents")
	}
	var runs []jbd2.Run
	blocks := uint64(n.size) >> fs.bsLog
	next := uint64(0)
	for _, r := range n.runs.list {
		if next >= blocks {
			break
		}
		if uint64(r.block) != next || r.unwritten() {
			return nil, fs.corruptInode(ino, "the journal has a hole at block %d", next)
		}
		k := min(uint64(r.n), blocks-next)
		runs = append(runs, jbd2.Run{First: r.block, N: uint32(k), Home: r.home})
		next += k
	}
	if next < blocks {
		return nil, fs.corruptInode(ino, "the journal has a hole at block %d", next)
	}
	return runs, nil
}

// protectJournal keeps files away from the journal's blocks.
func (fs *FS) protectJournal() error {
	if !fs.sb.HasCompat(disk.CompatHasJournal) || fs.sb.JournalInum == 0 {
		return nil
	}
	runs, err := fs.journalRuns()
	if err != nil {
		return err
	}
	for _, r := range runs {
		fs.zones.add(r.Home, uint64(r.N), fs.sb.JournalInum)
	}
	if at := fs.zones.finish(); at != 0 {
		return fs.corruptBlock(fs.sb.JournalInum, at, "the journal lies on the file system's own blocks")
	}
	fs.overhead = fs.countOverhead()
	return nil
}
