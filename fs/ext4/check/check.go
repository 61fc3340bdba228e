package check

import (
	"context"
	"errors"
	"fmt"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// Options of Run. The zero value checks the device as it is.
type Options struct {
	// Replay judges the file system as the next mount will find it: after the journal's replay,
	// which happens in memory only, and with orphans (files that were open without a name, or
	// being truncated) as what they are. Otherwise the check does as e2fsck -fn: it looks at what
	// is at home, so that a file system that needs its journal may look damaged.
	Replay bool
	// Paths finds where the inodes of the problems are in the tree, which takes another look at all
	// directories if there are any.
	Paths bool
	// Keep is how many problems the report has at most; 0: 1000. All are counted.
	Keep int
	// Context ends the check early; nil: nothing does.
	Context context.Context
	// Progress, if not nil, is called now and then, from Run's goroutine.
	Progress func(Progress)
}

// Progress says how far a check is.
type Progress struct {
	// Pass is 1 to 5.
	Pass int
	// Done of Total: groups in pass 1 and 5, directories in pass 2, 3, inodes' pieces in pass 4.
	Done, Total int64
}

// Report is what a check found.
type Report struct {
	// Problems are in the order in which they were found, at most Options.Keep.
	Problems []Problem `json:"problems"`
	// Errors and Notes count all problems: those that have to be repaired, and others.
	Errors int `json:"errors"`
	Notes  int `json:"notes"`
	// Incomplete tells that the check ended early: a fatal problem, or too many.
	Incomplete bool `json:"incomplete"`
	// NeedsRecovery tells that the journal has to be replayed before use; Replayed, that the
	// report is about the result.
	NeedsRecovery bool `json:"needs_recovery"`
	Replayed      bool `json:"replayed"`
	// Orphans counts inodes that the next mount deletes or truncates; known with Options.Replay.
	Orphans int `json:"orphans"`
	// What was found in use.
	Files       uint64 `json:"files"` // of any type but directories
	Directories uint64 `json:"directories"`
	UsedInodes  uint64 `json:"used_inodes"`
	Inodes      uint64 `json:"inodes"`
	UsedBlocks  uint64 `json:"used_blocks"`
	Blocks      uint64 `json:"blocks"`
	BlockSize   int    `json:"block_size"`
}

// Clean tells whether nothing has to be repaired.
func (r *Report) Clean() bool { return r.Errors == 0 && !r.Incomplete }

// Err returns nil if nothing has to be repaired, or an error with the first problems.
func (r *Report) Err() error {
	if r.Clean() {
		return nil
	}
	const shown = 10
	text := fmt.Sprintf("%d problems", r.Errors)
	n := 0
	for _, p := range r.Problems {
		if p.Severity == Note {
			continue
		}
		if n++; n > shown {
			text += "\n\t..."
			break
		}
		text += "\n\t" + string(p.Code) + ": " + p.String()
	}
	return errors.New(text)
}

// ErrUnsupported is wrapped by Run's error for a file system with features that this check does
// not know: e2fsck may.
var ErrUnsupported = errors.New("features that this check does not know")

const (
	defaultKeep = 1000
	// maxProblems is how many problems end a check: the image of who finds more is not of ext4, or
	// made to waste time.
	maxProblems = 100_000
)

// errStop ends the passes after a fatal problem.
var errStop = errors.New("check: fatal problem")

// Run checks the file system on dev, which it never writes to. The error is of the device or the
// context, or ErrUnsupported, and not about the file system's state, which the report tells.
func Run(dev blockdev.Device, o Options) (*Report, error) {
	if o.Keep == 0 {
		o.Keep = defaultKeep
	}
	if o.Context == nil {
		o.Context = context.Background()
	}
	c := &checker{dev: dev, o: o, r: new(Report)}
	err := c.run()
	if o.Paths && (err == nil || err == errStop) && len(c.dirs) > 0 && len(c.r.Problems) > 0 {
		if e := c.paths(); e != nil {
			err = e
		}
	}
	if err == errStop {
		c.r.Incomplete = true
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return c.r, nil
}

// checker is the state of a check.
type checker struct {
	dev  blockdev.Device
	o    Options
	r    *Report
	pass int

	sb       disk.Superblock
	bs       int
	bits     uint   // bs is 1<<bits
	seed     uint32 // of the metadata checksums
	csum     bool   // there are any
	gdtCsum  bool   // descriptors have checksums, so that their flags mean something
	first    uint64 // first data block
	blocks   uint64 // of the file system
	perGroup uint64
	inodes   uint32 // of the file system
	perTable uint32 // inodes of a group
	isize    int
	tableLen uint64 // blocks of an inode table
	gdtLen   uint64 // blocks of the descriptor table
	groups   []group
	metaBG   bool
	lowDtime bool // small numbers in i_dtime are not times

	used   blockSet // blocks that something claimed; numbers count from first
	meta   blockSet // those of the file system's own metadata
	shared blockSet // those claimed more than once
	table  inodeTable
	// overlaps counts claims of blocks that were claimed before.
	overlaps int
	dirs     []dirInfo
	runs     []dirRun
	xattrs   xattrRefs

	block []byte
	dir   dirScan
}

func (c *checker) run() error {
	steps := []struct {
		pass int
		f    func() error
	}{
		{0, c.superblock}, {0, c.descriptors}, {0, c.journal}, {0, c.backups},
		{0, c.metadata}, {0, c.resizeInode}, {0, c.orphans},
		{1, c.scanInodes}, {1, c.xattrCounts}, {1, c.sharedBlocks},
		{2, c.directories}, {3, c.connect}, {4, c.linkCounts}, {5, c.bitmaps},
	}
	for _, s := range steps {
		c.pass = s.pass
		if err := s.f(); err != nil {
			return err
		}
	}
	return nil
}

// add records a problem. It fails with errStop if there are too many.
func (c *checker) add(p Problem, format string, args ...any) error {
	p.Pass = c.pass
	if p.Severity == Note {
		c.r.Notes++
	} else {
		c.r.Errors++
	}
	if len(c.r.Problems) < c.o.Keep {
		p.Text = fmt.Sprintf(format, args...)
		c.r.Problems = append(c.r.Problems, p)
	}
	if c.r.Errors+c.r.Notes == maxProblems {
		p = Problem{Code: TooMany, Severity: Fatal, Pass: c.pass, Group: -1, Logical: -1,
			Text: fmt.Sprintf("gave up after %d problems", maxProblems)}
		c.r.Problems = append(c.r.Problems, p)
		return errStop
	}
	if p.Severity == Fatal {
		return errStop
	}
	return nil
}

// Places of problems.
func at(code Code) Problem                          { return Problem{Code: code, Severity: Error, Group: -1, Logical: -1} }
func inGroup(code Code, g int) Problem              { p := at(code); p.Group = int64(g); return p }
func inInode(code Code, ino uint32) Problem         { p := at(code); p.Inode = ino; return p }
func (p Problem) onBlock(b uint64) Problem          { p.Block = b; return p }
func (p Problem) logical(l uint64) Problem          { p.Logical = int64(l); return p }
func (p Problem) named(name []byte) Problem         { p.Name = string(name); return p }
func (p Problem) as(severity Severity) Problem      { p.Severity = severity; return p }
func (c *checker) valid(b uint64) bool              { return b >= c.first && b < c.blocks && b != 0 }
func (c *checker) validRun(b, n uint64) bool        { return c.valid(b) && n <= c.blocks-b }
func (c *checker) read(p []byte, b uint64) error    { return c.dev.ReadAt(p, int64(b)<<c.bits) }
func (c *checker) groupOf(b uint64) int             { return int((b - c.first) / c.perGroup) }
func (c *checker) groupFirst(g int) uint64          { return c.first + uint64(g)*c.perGroup }
func (c *checker) hasCompat(f uint32) bool          { return c.sb.HasCompat(f) }
func (c *checker) hasIncompat(f uint32) bool        { return c.sb.HasIncompat(f) }
func (c *checker) hasROCompat(f uint32) bool        { return c.sb.HasROCompat(f) }
func (c *checker) inodeSeed(ino, gen uint32) uint32 { return disk.InodeSeed(c.seed, ino, gen) }

// groupBlocks returns the length of group g.
func (c *checker) groupBlocks(g int) uint64 { return min(c.perGroup, c.blocks-c.groupFirst(g)) }

// tick reports progress and looks whether the check is to end.
func (c *checker) tick(done, total int64) error {
	if err := c.o.Context.Err(); err != nil {
		return fmt.Errorf("check: %w", context.Cause(c.o.Context))
	}
	if c.o.Progress != nil {
		c.o.Progress(Progress{Pass: c.pass, Done: done, Total: total})
	}
	return nil
}
