package ext4

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/ext4/jbd2"
)

// journalState is what a file system knows of its journal.
type journalState struct {
	journal       *jbd2.Log    // nil: changes go home directly
	superBuf      *buffer      // the superblock's block, if it goes through the journal
	maxTx         int          // changed blocks that a transaction may have
	manyChanges   int          // from so many on, a commit starts early
	needsRecovery bool         // the device knows that there is a log; guarded by commitMu
	committing    atomic.Int64 // log blocks that the transaction takes that is closed, but not committed
	abortCause    atomic.Pointer[error]
	abortMu       sync.Mutex // held while the superblock at home is changed past the journal

	checkpointWake chan struct{}
	checkpointQuit chan struct{}
	checkpointDone chan struct{}
}

const (
	// maxTransaction is the most blocks that a transaction may change, however long the
	// journal is, and where a file system without one commits early.
	maxTransaction = 4096
	// minTransaction is what a transaction may have however small the cache is: the largest
	// handles change some hundred blocks.
	minTransaction = 256
	// maxUncheckpointed bounds the memory for what is in the log but not yet home, in blocks.
	maxUncheckpointed = 32768
)

// replayJournal brings the device up to date if the journal says so.
func (fs *FS) replayJournal() error {
	sb := &fs.sb
	if !sb.HasCompat(disk.CompatHasJournal) {
		if sb.HasIncompat(disk.IncompatRecover) {
			return fs.corruptBlock(0, 0, "needs recovery but has no journal")
		}
		return nil
	}
	if sb.JournalInum == 0 {
		if fs.opts.ReadOnly && !sb.HasIncompat(disk.IncompatRecover) {
			return nil
		}
		return fmt.Errorf("the journal is on another device (feature journal_dev, UUID %x), which is not supported: "+
			"give the file system one of its own with tune2fs -O ^has_journal and then -j, after e2fsck", sb.JournalUUID)
	}
	if !sb.HasIncompat(disk.IncompatRecover) {
		return nil
	}
	runs, err := fs.journalRuns()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j := jbd2.Journal{Device: fs.dev, BlockSize: fs.bs, Runs: runs, Blocks: fs.blocks}
	overlay, stats, err := j.Replay(fs.opts.ReadOnly)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if stats.Transactions > 0 {
		fs.log("journal replayed: %d transactions, %d blocks, %d revoked", stats.Transactions, stats.Blocks, stats.Revoked)
	}
	fs.dev = overlay
	fs.mapped, _ = overlay.(blockdev.Mapped)
	if s, ok := overlay.(*syncDevice); ok {
		fs.mapped, _ = s.Device.(blockdev.Mapped)
	}
	// What was read before may have changed.
	before := *sb
	fs.buffers.init(fs)
	fs.inodes.init(fs)
	if err := fs.loadSuperblock(); err != nil {
		return fmt.Errorf("after journal replay: %w", err)
	}
	if err := fs.loadGroups(true); err != nil {
		return fmt.Errorf("after journal replay: %w", err)
	}
	// An error may have been noted after the last commit, in either superblock.
	keepErrors(sb, &before)
	if stats.Errno != 0 {
		sb.State |= disk.StateError
	}
	if fs.opts.ReadOnly {
		return nil
	}
	sb.FeatureIncompat &^= disk.IncompatRecover
	return fs.writeSuperblockNow()
}

// startJournal opens the journal for writing. The device learns of it with the first commit, so
// that a mount that changes nothing writes nothing, unless there is an error to take over.
func (fs *FS) startJournal() error {
	fs.manyChanges = maxTransaction
	if fs.readOnly.Load() || !fs.sb.HasCompat(disk.CompatHasJournal) {
		return nil
	}
	if v, ok := fs.device().(blockdev.Volatile); ok && v.Volatile() {
		return nil
	}
	runs, err := fs.journalRuns()
	if err != nil {
		return err
	}
	if fs.superBuf, err = fs.buffers.read(disk.SuperblockOffset>>fs.bsLog, makeRole(roleSuper, 0), 0, nil); err != nil {
		return err
	}
	j := jbd2.Journal{Device: fs.dev, BlockSize: fs.bs, Runs: runs, Blocks: fs.blocks}
	format := jbd2.Format{Wide: fs.sb.HasIncompat(disk.Incompat64Bit), Checksum: fs.hasCsum}
	fs.journal, err = j.Open(format, logMemory{fs})
	if err != nil {
		return err
	}
	if no := fs.journal.LastError(); no != 0 {
		fs.log("the journal's last user met error %d", no)
		if err := fs.takeOverError(); err != nil {
			return err
		}
	}
	fs.sb.FeatureIncompat |= disk.IncompatRecover // from the first commit on
	memory := max(fs.frames.limit/8*blockdev.PageSize/fs.bs, minTransaction)
	fs.maxTx = min(fs.journal.Capacity()/4, memory, maxTransaction)
	fs.manyChanges = fs.maxTx / 2
	fs.checkpointWake = make(chan struct{}, 1)
	fs.checkpointQuit = make(chan struct{})
	fs.checkpointDone = make(chan struct{})
	go fs.checkpointer()
	return nil
}

// takeOverError has the superblock say that there was an error, which perhaps only the journal
// knows of, and then the journal forget it. Until then e2fsck would not be silent.
func (fs *FS) takeOverError() error {
	fs.sb.State |= disk.StateError
	if err := fs.writeSuperblockNow(); err != nil {
		return err
	}
	return fs.journal.ClearError()
}

// device returns the device below.
func (fs *FS) device() blockdev.Device {
	if s, ok := fs.dev.(*syncDevice); ok {
		return s.Device
	}
	return fs.dev
}

// logMemory gives the journal blocks of the cache's memory.
type logMemory struct{ fs *FS }

func (m logMemory) Block() []byte { return m.fs.frames.block(m.fs.bs) }
func (m logMemory) Free(p []byte) { m.fs.frames.freeBlock(p) }

// superOffset returns where the superblock is in its block.
func (fs *FS) superOffset() int { return disk.SuperblockOffset & (fs.bs - 1) }

// readBlock fills p with a block of metadata, from the journal if it is not yet home.
func (fs *FS) readBlock(nr uint64, p []byte) error {
	if fs.journal != nil {
		if found, err := fs.journal.ReadBlock(nr, p); found || err != nil {
			return err
		}
	}
	return fs.dev.ReadAt(p, int64(nr)<<fs.bsLog)
}

// reserve takes room for credits blocks in tx and in the log. The caller shares txLock.
func (fs *FS) reserve(tx *transaction, credits int) bool {
	size := int(tx.reserved.Add(int32(credits))) + int(tx.size.Load())
	room := fs.journal.Free() - int(fs.committing.Load())
	if size <= fs.maxTx && fs.journal.Need(size, size) <= room {
		return true
	}
	tx.reserved.Add(-int32(credits))
	return false
}

// makeLogRoom makes room for a handle of credits blocks that tx could not take.
func (fs *FS) makeLogRoom(tx *transaction, credits int) error {
	if credits > fs.maxTx {
		return fmt.Errorf("a change of %d blocks is too large for a journal of %d: %w", credits, fs.journal.Capacity(), abi.ENOSPC)
	}
	if err := fs.commit(tx.id); err != nil {
		return err
	}
	want := fs.journal.Need(fs.maxTx, fs.maxTx) + int(fs.committing.Load())
	if fs.journal.Free() >= want {
		return nil
	}
	return fs.checkpoint(want)
}

// writeLog commits f to the journal.
func (fs *FS) writeLog(f *frozen) error {
	need := fs.journal.Need(len(f.log.Blocks), len(f.log.Revoked))
	fs.committing.Store(int64(need))
	if need > fs.journal.Free() {
		if err := fs.journal.Checkpoint(need); err != nil {
			return err
		}
	}
	if !fs.needsRecovery {
		if err := fs.markNeedsRecovery(); err != nil {
			return err
		}
		fs.needsRecovery = true
	}
	now := fs.now()
	f.log.Sec, f.log.Nsec = uint64(now.Sec), uint32(now.Nsec)
	if err := fs.journal.Commit(&f.log); err != nil {
		return err
	}
	fs.committing.Store(0)
	if free, all := fs.journal.Free(), fs.journal.Capacity(); free < all/2 || all-free > maxUncheckpointed {
		poke(fs.checkpointWake)
	}
	return nil
}

// markNeedsRecovery says in the superblock at home that there is a journal to be replayed, and
// nothing else: the rest of the superblock goes through the journal.
func (fs *FS) markNeedsRecovery() error {
	fs.abortMu.Lock()
	defer fs.abortMu.Unlock()
	var p [disk.SuperblockSize]byte
	if err := fs.dev.ReadAt(p[:], disk.SuperblockOffset); err != nil {
		return err
	}
	var sb disk.Superblock
	if err := sb.Decode(p[:]); err != nil {
		return err
	}
	sb.FeatureIncompat |= disk.IncompatRecover
	sb.Encode(p[:])
	return blockdev.Commit(fs.dev, []blockdev.Vec{{Off: disk.SuperblockOffset, Data: p[:]}}, blockdev.Vec{})
}

// checkpointer makes room in the log behind everybody's back, in large batches.
func (fs *FS) checkpointer() {
	defer close(fs.checkpointDone)
	for {
		select {
		case <-fs.checkpointWake:
		case <-fs.checkpointQuit:
			return
		}
		all := fs.journal.Capacity()
		if err := fs.checkpoint(max(all/4*3, all-maxUncheckpointed/4)); err != nil {
			fs.log("bringing the journal home: %v", err)
		}
	}
}

// checkpoint makes the log have want free blocks.
func (fs *FS) checkpoint(want int) error {
	err := fs.aborted()
	if err == nil {
		err = fs.journal.Checkpoint(want)
	}
	if err != nil && (!errors.Is(err, blockdev.ErrNoSpace) || fs.flushFailed()) {
		fs.abort(err)
	}
	return err
}

// stopJournal ends the checkpointer.
func (fs *FS) stopJournal() {
	if fs.journal != nil {
		close(fs.checkpointQuit)
		<-fs.checkpointDone
	}
}

// closeJournal leaves the journal empty and the superblock saying so. Everything is
// committed, and nothing goes on.
func (fs *FS) closeJournal() error {
	if fs.journal == nil {
		return nil
	}
	if !fs.needsRecovery {
		return nil
	}
	if err := fs.journal.Close(); err != nil {
		return err
	}
	fs.sb.FeatureIncompat &^= disk.IncompatRecover
	fs.sbMu.Lock()
	var p [disk.SuperblockSize]byte
	fs.encodeSuperblock(p[:], fs.stateOnDisk())
	fs.sbMu.Unlock()
	return blockdev.Commit(fs.dev, nil, blockdev.Vec{Off: disk.SuperblockOffset, Data: p[:]})
}

// abort ends all changing because of cause: what is not committed never will be, so that the
// device keeps the last consistent state. Cause is noted in both superblocks if they can be
// written. It may be called with any locks but the journal's.
func (fs *FS) abort(cause error) {
	if !fs.readOnly.Swap(true) {
		fs.log("writing failed, file system is now read-only: %v", cause)
	}
	if fs.journal == nil || !fs.abortCause.CompareAndSwap(nil, &cause) {
		return
	}
	no := uint32(abi.EIO)
	if e := errno(cause); e == abi.EUCLEAN || e == abi.ENOSPC {
		no = uint32(e)
	}
	err := fs.journal.Abort(no)
	var c *CorruptError
	if !errors.As(cause, &c) { // else who found it has noted it
		if e := fs.noteError(cause); err == nil {
			err = e
		}
	}
	if err != nil {
		fs.log("the error could not be noted on the device: %v", err)
	}
}

// flush is Flush of the device. When it fails, nobody knows what the device has.
func (fs *FS) flush() error {
	err := fs.dev.Flush()
	if err != nil {
		fs.abort(err)
	}
	return err
}

// aborted returns an error if the journal was aborted.
func (fs *FS) aborted() error {
	if cause := fs.abortCause.Load(); cause != nil {
		return fmt.Errorf("the journal was aborted: %w", *cause)
	}
	return nil
}

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
