package vfstest

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Instance is a file system for the time of one sequence of steps.
type Instance interface {
	// Start returns a process of root's whose root directory is empty at first, and the same after
	// a Remount.
	Start() (System, error)
	// Remount unmounts, when all processes have ended, and mounts again.
	Remount() error
	// Close ends it, when all processes have ended, and checks what is left.
	Close() error
}

// Generator makes up steps: lines of a script (see [Script]).
type Generator interface {
	Next() string
	// Done tells what the last step gave, in both systems alike.
	Done(line, result string)
}

// Comparison does the same in two file systems and looks for differences.
type Comparison struct {
	// A is tested, B is the model.
	A, B func() (Instance, error)
	// Generator makes a source of steps, the same for the same seed.
	Generator func(seed uint64) Generator
	// Clock: both have a clock that [Tick] moves, and that is part of what is compared.
	Clock bool
	// Full: A may say ENOSPC. Then the step must not have had an effect.
	Full bool
	// OwnHoles: holes are looked at in A only. Where they are depends on the file system.
	OwnHoles bool
	// Whole: what fails is not made shorter, since it cannot be done again alone.
	Whole bool
	// Every is the number of steps between comparisons of the whole trees; 0 for 1000.
	Every int
	// Tick is called before each step; it may be nil.
	Tick func()
	// Results counts the steps by what came of them, in all runs but those that shorten.
	Results map[string]int
	// Block is the block size of A; where it is 0, holes are not compared.
	Block int64
}

// Failure is the first difference.
type Failure struct {
	Seed  uint64
	Lines []string // done until then, with their results in the model; the last is the one that differs
	What  string
}

func (f *Failure) Error() string {
	last := f.Lines
	if len(last) > 60 {
		last = append([]string{fmt.Sprintf("# %d lines before", len(last)-60)}, last[len(last)-60:]...)
	}
	return fmt.Sprintf("seed %d, after %d steps: %s\n%s", f.Seed, len(f.Lines), f.What, strings.Join(last, "\n"))
}

// Run compares for so many steps. A sequence that fails is made as short as can be; what is left
// is a script that can be put in testdata.
func (c *Comparison) Run(t testing.TB, seed uint64, steps int) {
	t.Helper()
	t.Logf("seed %d, %d steps", seed, steps)
	c.Results = make(map[string]int)
	defer func() { t.Logf("results: %v", c.Results) }()
	if long, short := c.Find(seed, steps); long != nil {
		t.Errorf("%v\n\nthe shortest sequence that fails has %d steps: %s\n== seed %d\n%s",
			long, len(short.Lines), short.What, seed, strings.Join(short.Lines, "\n"))
	}
}

// Find compares for so many steps, and returns what fails, if something does, and the shortest
// sequence it could find that fails.
func (c *Comparison) Find(seed uint64, steps int) (long, short *Failure) {
	g := c.Generator(seed)
	i := 0
	var last string
	f := c.play(func(result string) (string, bool) {
		if last != "" {
			g.Done(last, result)
			if c.Results != nil {
				what, _, _ := strings.Cut(result, " ")
				c.Results[what]++
			}
		}
		if i == steps {
			return "", false
		}
		i++
		last = g.Next()
		return last, true
	})
	if f == nil {
		return nil, nil
	}
	f.Seed = seed
	if c.Whole {
		return f, f
	}
	return f, c.shrink(f)
}

// replay plays lines that may carry results, which are not looked at.
func (c *Comparison) replay(lines []string) *Failure {
	i := 0
	return c.play(func(string) (string, bool) {
		if i == len(lines) {
			return "", false
		}
		i++
		text, _, _ := strings.Cut(lines[i-1], "=>")
		return strings.TrimSpace(text), true
	})
}

// player is a comparison under way.
type player struct {
	c     *Comparison
	inst  [2]Instance
	run   [2]*run
	lines []string
	now   atomic.Pointer[string]
	count atomic.Int64
}

// play does steps until next has no more, and returns what went wrong, or nil.
func (c *Comparison) play(next func(result string) (string, bool)) (fail *Failure) {
	p := &player{c: c}
	bad := func(what string) *Failure { return &Failure{Lines: slices.Clone(p.lines), What: what} }
	defer func() {
		if r := recover(); r != nil {
			// What has panicked may hold locks: leave it alone.
			fail = bad(fmt.Sprintf("panic: %v\n%s", r, debug.Stack()))
		}
	}()
	stop := p.watch()
	defer stop()
	for i, make := range []func() (Instance, error){c.A, c.B} {
		inst, err := make()
		if err == nil {
			p.inst[i] = inst
			err = p.start(i)
		}
		if err != nil {
			return bad(fmt.Sprintf("start: %v", err))
		}
	}
	every := c.Every
	if every == 0 {
		every = 1000
	}
	result := ""
	for k := 1; ; k++ {
		line, ok := next(result)
		if !ok {
			break
		}
		p.now.Store(&line)
		p.count.Add(1)
		if c.Tick != nil {
			c.Tick()
		}
		p.lines = append(p.lines, line)
		var what string
		if result, what = p.step(line); what == "" && k%every == 0 {
			what = p.trees()
		}
		if result != "OK" {
			p.lines[len(p.lines)-1] = line + " => " + result
		}
		if what != "" {
			fail = bad(what)
			break
		}
	}
	if fail == nil {
		p.drop()
		if what := p.trees(); what != "" {
			fail = bad("at the end: " + what)
		}
	}
	for i := range p.run {
		p.run[i].close()
		if err := p.inst[i].Close(); err != nil && fail == nil {
			fail = bad(fmt.Sprintf("at the end: %v", err))
		}
	}
	return fail
}

// stuck is how long one step may take before something must be wrong, on a loaded machine.
const stuck = 3 * time.Minute

// watch ends the program, with the stacks of all goroutines, if a step never ends.
func (p *player) watch() (stop func()) {
	quit := make(chan struct{})
	go func() {
		seen := int64(-1)
		for {
			select {
			case <-quit:
				return
			case <-time.After(stuck):
			}
			n := p.count.Load()
			if n == seen {
				panic(fmt.Sprintf("step %d does not end: %s", n, *p.now.Load()))
			}
			seen = n
		}
	}()
	return func() { close(quit) }
}

func (p *player) start(i int) error {
	s, err := p.inst[i].Start()
	if err != nil {
		return err
	}
	p.run[i] = newRun(s)
	p.run[i].clock = p.c.Clock
	return nil
}

// drop closes all held files.
func (p *player) drop() {
	for _, r := range p.run {
		for _, f := range r.held {
			f.Close()
		}
		clear(r.held)
	}
}

// step does a step in both. It returns the model's result, and what is wrong about the other.
func (p *player) step(line string) (result, wrong string) {
	a := split(line)
	switch a[0] {
	case "remount":
		return "OK", p.remount()
	case "caches":
		if d, ok := p.inst[0].(interface{ DropCaches() }); ok {
			d.DropCaches()
		}
		return "OK", ""
	}
	if p.orphaned(a) {
		return "EBADF", "" // a shortened sequence uses a file that it does not open
	}
	got := p.run[0].result(line)
	if p.c.OwnHoles && a[0] == "holes" {
		p.run[1].result("fsum " + a[1] + " 0 1") // which counts as an access
		if got != "OK" {
			return got, fmt.Sprintf("%s: got %s", clip(line), clip(got))
		}
		return "OK", ""
	}
	if p.c.Full && p.noSpace(a, got) {
		return p.full(a, line, got)
	}
	want := p.run[1].result(line)
	if got != want {
		return want, fmt.Sprintf("%s: got %s, want %s", clip(line), clip(got), clip(want))
	}
	if a[0] == "holes" && p.c.Block != 0 {
		return want, p.sameHoles()
	}
	return want, ""
}

// heldCommands are those whose first argument is a held file.
func (p *player) orphaned(a args) bool {
	switch a[0] {
	case "drop", "flook", "fsum", "fput", "fadd", "holes", "publish", "fdatasync", "fwrite", "fpwrite", "fread", "fpread", "fseek",
		"ftruncate", "fallocate", "fsync", "fstat", "fchmod", "fchown", "ftimes", "freaddir", "fmap", "fstore":
		return p.run[0].held[a.at(1)] == nil || p.run[1].held[a[1]] == nil
	}
	return false
}

// noSpace tells whether A did less than the model would, for want of room.
func (p *player) noSpace(a args, got string) bool {
	if got == abi.Errno(abi.ENOSPC).String() {
		return true
	}
	switch a[0] {
	case "fput":
		return got != fmt.Sprintf("OK %d", len(a[3])) && strings.HasPrefix(got, "OK ")
	case "fadd":
		return got != fmt.Sprintf("OK %d", len(a[2])) && strings.HasPrefix(got, "OK ")
	}
	return false
}

// full brings the model to where A is after a step for which there was no room: the step has no
// effect, but for content, of which there may be a part.
func (p *player) full(a args, line, got string) (result, wrong string) {
	switch a[0] {
	case "fput", "fadd":
		var n int
		if _, err := fmt.Sscanf(got, "OK %d", &n); err != nil {
			return got, ""
		}
		text := a[len(a)-1]
		if n > len(text) {
			return got, fmt.Sprintf("%s: %d bytes written", clip(line), n)
		}
		var want string
		if f := p.run[1].held[a[1]]; a[0] == "fput" {
			k, e := f.Pwrite([]byte(text[:n]), a.num(2))
			want = observed(fmt.Sprint(k), e)
		} else {
			k, e := f.Write([]byte(text[:n]))
			want = observed(fmt.Sprint(k), e)
		}
		if want != got {
			return want, fmt.Sprintf("%s: got %s, the model %s", clip(line), got, want)
		}
	case "fallocate":
		// What was allocated before the room ended stays, and the size that covers it; a range
		// that was to be zero may be so in part. Make both zero, and as long as A is.
		size := sizeOf(p.run[0].held[a[1]])
		if old := sizeOf(p.run[1].held[a[1]]); size < old || size > max(old, a.num(3)+a.num(4)) {
			return got, fmt.Sprintf("%s: the file of %d bytes now has %d", clip(line), old, size)
		}
		for _, r := range p.run {
			f := r.held[a[1]]
			at := min(a.num(3), size)
			for _, n := range []int64{at, size} {
				if e := f.Truncate(n); e != 0 {
					return got, fmt.Sprintf("ftruncate to %d after %s: %s", n, clip(line), e.String())
				}
			}
		}
	case "fstore":
		// A fault for which there was no room ends it: what was stored to the pages before it stays.
		off, text := a.num(2), []byte(a[3])
		p0 := make([]byte, len(text))
		n, e := p.run[0].held[a[1]].Pread(p0, off)
		if e != 0 {
			return got, fmt.Sprintf("reading after %s: %s", clip(line), e.String())
		}
		stored := 0
		for stored < n {
			end := min(stored+int(mapPage-(off+int64(stored))%mapPage), n)
			if string(p0[stored:end]) != string(text[stored:end]) {
				break
			}
			stored = end
		}
		if e := store(p.run[1].held[a[1]], text[:stored], off); e != 0 {
			return got, fmt.Sprintf("%s: the model says %s", clip(line), e.String())
		}
	case "unlink", "rmdir", "drop", "fsync", "fdatasync", "sync", "look", "flook", "sum", "fsum", "names", "rmxattr":
		return got, fmt.Sprintf("%s: got %s, which must always have room", clip(line), got)
	}
	return got, ""
}

func sizeOf(f File) int64 {
	var a vfs.Attr
	f.Stat(&a)
	return a.Size
}

// remount puts A through an unmount and a mount, and B if it is one on a disk.
func (p *player) remount() string {
	p.drop()
	for i := range p.run {
		p.run[i].close()
		if err := p.inst[i].Remount(); err != nil {
			return fmt.Sprintf("remount: %v", err)
		}
		if err := p.start(i); err != nil {
			return fmt.Sprintf("after a remount: %v", err)
		}
	}
	return p.trees()
}

// sameHoles compares what the last "holes" has found: A has blocks at most where the model has
// pages, which are at least as large.
func (p *player) sameHoles() string {
	model := p.run[1].data
	for _, r := range p.run[0].data {
		i := slices.IndexFunc(model, func(m Range) bool { return m.From <= r.From && r.To <= m.To })
		if i < 0 {
			return fmt.Sprintf("data at %v, the model has it at %v only", r, model)
		}
	}
	if bs := p.c.Block; bs > 0 && !p.c.Full { // an fallocate that found no room may have taken some
		// Blocks of the tree: one for each 40 extents is far too many, and a few levels.
		blocks := p.run[1].blocks
		if most := blocks + blocks/16 + 8*bs/512 + 64; p.run[0].blocks > most {
			return fmt.Sprintf("%d blocks of 512, at most %d make sense", p.run[0].blocks, most)
		}
	}
	return ""
}

// trees compares everything.
func (p *player) trees() string {
	var dump [2][]string
	for i, r := range p.run {
		var e abi.Errno
		if dump[i], e = r.dump(); e != 0 {
			return fmt.Sprintf("reading tree %d: %s", i, e.String())
		}
	}
	if err := DifferList(dump[0], dump[1]); err != nil {
		return "trees: " + err.Error()
	}
	return ""
}
