package resize

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/ext4/jbd2"
)

// ErrInPlace: a growth cannot be one transaction of the file system's own journal. Resize can do it.
var ErrInPlace = errors.New("cannot grow in place")

// Growth is a file system that is about to become larger where it is, which survives a crash at any
// moment.
//
// What is new lies behind the old end, where nothing leads to, and is written at once. Every change of what is
// before the old end (descriptors, their copies, bitmaps, the superblock) is kept in memory, and becomes one
// transaction of the file system's journal: until its commit record is on stable storage, the file system is
// what it was, and from then on it has the new size, if need be after the replay that every mount and e2fsck
// does.
type Growth struct {
	dev    *stagedDevice
	before *fs
	size   Size
	runs   []jbd2.Run
}

// Grow prepares to make the file system on dev one of blocks blocks, as Resize does. It changes nothing that the
// file system has; ErrInPlace is wrapped by its error if there is no journal, or too small a one. Nobody may
// use the file system until Commit has returned.
func Grow(dev blockdev.Device, blocks uint64, o Options) (*Growth, error) {
	before, err := load(dev, o)
	if err != nil {
		return nil, err
	}
	g := &Growth{before: before}
	if blocks < before.old.blocks {
		return nil, fmt.Errorf("fewer blocks than before: %w", ErrInPlace)
	}
	if g.runs, err = before.journalRuns(); err != nil {
		return nil, err
	}
	log, err := g.open(dev)
	if err != nil {
		return nil, err
	}
	g.dev = &stagedDevice{Device: dev, bs: before.bs, end: int64(before.old.blocks) * before.bs, most: log.Capacity(), blocks: make(map[int64][]byte)}
	if g.size, err = Resize(g.dev, blocks, o); err != nil {
		return nil, err
	}
	if err := g.dev.settle(); err != nil {
		return nil, err
	}
	return g, g.movable(log)
}

// open opens the journal, which writes nothing.
func (g *Growth) open(dev blockdev.Device) (*jbd2.Log, error) {
	f := g.before
	j := jbd2.Journal{Device: dev, BlockSize: int(f.bs), Blocks: f.old.blocks, Runs: g.runs}
	log, err := j.Open(jbd2.Format{Wide: f.sb.HasIncompat(disk.Incompat64Bit), Checksum: f.csum}, heapBlocks(f.bs))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return log, nil
}

// movable tells whether the changes are a transaction that the journal can take.
func (g *Growth) movable(log *jbd2.Log) error {
	if n := log.Need(len(g.dev.blocks), 0); n > log.Capacity() {
		return fmt.Errorf("the journal has %d blocks, %d are needed: %w", log.Capacity(), n, ErrInPlace)
	}
	for b := range g.dev.blocks {
		for _, r := range g.runs {
			if uint64(b) >= r.Home && uint64(b)-r.Home < uint64(r.N) {
				return fmt.Errorf("the journal itself would move: %w", ErrInPlace)
			}
		}
	}
	return nil
}

// Size returns the size that the file system gets.
func (g *Growth) Size() Size { return g.size }

// Device shows the file system as it will be after Commit.
func (g *Growth) Device() blockdev.Device { return g.dev }

// Commit makes the file system one of the new size. If it fails, the file system may have either size, and
// may need its journal replayed.
func (g *Growth) Commit() error {
	dev, bs := g.dev.Device, g.before.bs
	if len(g.dev.blocks) == 0 {
		return nil
	}
	log, err := g.open(dev)
	if err != nil {
		return err
	}
	// The new groups are there before anything says that they are.
	if err := dev.Flush(); err != nil {
		return err
	}
	// From the first block of the log until all is at home, the superblock says that there is a journal to
	// replay; in the transaction, too.
	after := g.superblock(g.dev)
	if err := g.writeSuper(g.superblock(dev), true); err != nil {
		return err
	}
	t := jbd2.Transaction{Sec: uint64(time.Now().Unix())}
	super := disk.SuperblockOffset / bs
	for _, b := range slices.Sorted(maps.Keys(g.dev.blocks)) {
		p := bytes.Clone(g.dev.blocks[b])
		if b == super {
			mark(p[disk.SuperblockOffset%bs:], true)
		}
		t.Blocks = append(t.Blocks, jbd2.Block{Nr: uint64(b), Data: p})
	}
	if err := log.Commit(&t); err != nil {
		return err
	}
	if err := log.Close(); err != nil {
		return err
	}
	return g.writeSuper(after, false)
}

// superblock reads the superblock that d shows.
func (g *Growth) superblock(d blockdev.Device) (p []byte) {
	p = make([]byte, disk.SuperblockSize)
	if d.ReadAt(p, disk.SuperblockOffset) != nil {
		return nil
	}
	return p
}

// writeSuper puts a superblock in its place, for good.
func (g *Growth) writeSuper(p []byte, recover bool) error {
	if p == nil {
		return errors.New("the superblock cannot be read")
	}
	mark(p, recover)
	return blockdev.Commit(g.dev.Device, nil, blockdev.Vec{Off: disk.SuperblockOffset, Data: p})
}

// mark says in a superblock whether the journal has to be replayed.
func mark(p []byte, recover bool) {
	var s disk.Superblock
	if s.Decode(p) != nil {
		return
	}
	s.FeatureIncompat &^= disk.IncompatRecover
	if recover {
		s.FeatureIncompat |= disk.IncompatRecover
	}
	s.Encode(p)
}

// journalRuns returns where the journal is.
func (f *fs) journalRuns() ([]jbd2.Run, error) {
	ino := f.sb.JournalInum
	if !f.sb.HasCompat(disk.CompatHasJournal) || ino == 0 || ino > f.sb.InodesCount {
		return nil, fmt.Errorf("there is no journal in it: %w", ErrInPlace)
	}
	raw := make([]byte, f.sb.InodeSize)
	if err := f.dev.ReadAt(raw, f.inodeAt(ino)); err != nil {
		return nil, err
	}
	var n disk.Inode
	n.Decode(raw)
	if n.Flags&disk.InodeExtents == 0 {
		return nil, fmt.Errorf("the journal has no extents: %w", ErrInPlace)
	}
	m := mover{f: f, ino: ino, n: &n, seed: disk.InodeSeed(f.seed, ino, n.Generation)}
	x, err := m.readExtents()
	if err != nil {
		return nil, err
	}
	var runs []jbd2.Run
	next, end := uint64(0), n.Size/uint64(f.bs)
	for _, b := range x.leaves {
		k := min(b.at.n, end-next)
		if k == 0 {
			break
		}
		if b.logical != next || b.unwritten {
			return nil, m.bad("the journal has a hole at block %d", next)
		}
		runs = append(runs, jbd2.Run{First: uint32(b.logical), N: uint32(k), Home: b.at.start})
		next += k
	}
	return runs, nil
}
