package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/blockdev/filedev"
	"pinhole/fs/ext4"
	"pinhole/fs/ext4/check"
	"pinhole/fs/vfs"
	"pinhole/tests/harness"
)

// looker recovers from crashes and looks at what is left. One goroutine uses it.
type looker struct {
	e2fsck string
	file   *mirror
	done   map[[3]uint64]bool // states that were checked
	trees  map[uint64]*seen   // by the sum of the crashed image
	order  []uint64           // of trees, oldest first
	n      int                // distinct states so far
	hang   *time.Timer
	state  atomic.Pointer[string]
}

func newLooker(t testing.TB) *looker {
	return &looker{
		e2fsck: harness.Tool(t, "e2fsck", "e2fsprogs"),
		file:   newMirror(t),
		done:   map[[3]uint64]bool{},
		trees:  map[uint64]*seen{},
	}
}

func (l *looker) close() { l.file.close() }

// patience is how long a recovery may take before it counts as hanging.
const patience = 2 * time.Minute

// keepTrees is how many trees of states are kept for others with the same content.
const keepTrees = 64

// check recovers from a state, and says what is wrong with the result.
func (l *looker) check(rec *record, s faultdev.State) (err error) {
	key := [3]uint64{s.Image.Sum(), uint64(s.First), uint64(s.Last)}
	if l.done[key] {
		return nil
	}
	l.done[key] = true
	count.states.Add(1)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	alarm := time.AfterFunc(patience, func() { panic("state " + s.ID + ": recovery hangs") })
	defer alarm.Stop()
	tree := l.trees[key[0]]
	if tree == nil {
		if tree, err = l.recover(s.Image); err != nil {
			return err
		}
		l.trees[key[0]] = tree
		if l.order = append(l.order, key[0]); len(l.order) > keepTrees {
			delete(l.trees, l.order[0])
			l.order = l.order[1:]
		}
	}
	return rec.oracle.check(tree, s.First, s.Last)
}

// recover mounts a crashed image, as the next start of a sandbox does, and looks at everything.
func (l *looker) recover(img *faultdev.Image) (*seen, error) {
	count.distinct.Add(1)
	l.n++
	after := img.Clone()
	dev := faultdev.NewOn(after)
	dev.Record = l.n%32 == 7
	tree, err := recoverOn(dev, ext4.Options{}, l.n%8 == 2)
	if err != nil {
		return nil, err
	}
	if err := l.clean(after); err != nil {
		return nil, err
	}
	if l.n%4 == 0 {
		// Our own check is of one mind with e2fsck, and sees the same before recovery.
		for _, c := range []struct {
			what string
			img  *faultdev.Image
		}{{"the crashed image", img.Clone()}, {"the recovered image", after}} {
			r, err := check.Run(faultdev.NewOn(c.img), check.Options{Replay: true})
			if err == nil {
				err = r.Err()
			}
			if err != nil {
				return nil, fmt.Errorf("our check of %s: %w", c.what, err)
			}
		}
	}
	want := tree.all("lost+found")
	if l.n%8 == 1 {
		// Read only: the replay stays in memory, orphans where they are.
		again, err := recoverOn(faultdev.NewOn(img.Clone()), ext4.Options{ReadOnly: true}, false)
		if err != nil {
			return nil, fmt.Errorf("read-only: %w", err)
		}
		if d := differences(want, again.all("lost+found")); d != "" {
			return nil, fmt.Errorf("a read-only mount shows something else (- recovered, + read-only):\n%s", d)
		}
	}
	if l.n%16 == 3 {
		if err := agreed(img, func(img *faultdev.Image) error { return l.mend(img, want) }); err != nil {
			return nil, err
		}
	}
	if l.n%64 == 5 && os.Geteuid() == 0 {
		if err := agreed(img, func(img *faultdev.Image) error { return l.mountOnHost(img, want) }); err != nil {
			return nil, err
		}
	}
	if dev.Record {
		if err := l.crashAgain(img, dev.Events(), want); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

// arenas has memory for the caches of file systems that are mounted for a moment.
var arenas = sync.Pool{New: func() any { return blockdev.NewArena(make([]byte, 2<<20)) }}

// recoverOn mounts, looks at everything and unmounts; use has something written in between.
func recoverOn(dev blockdev.Device, opts ext4.Options, use bool) (*seen, error) {
	var said messages
	opts.Log = said.add
	opts.Arena = arenas.Get().(*blockdev.Arena)
	defer func() { arenas.Put(blockdev.NewArena(opts.Arena.Bytes())) }()
	opts.FlushAfter, opts.CommitEvery = time.Hour, time.Hour
	opts.NoAtime = true
	fs, err := ext4.Mount(dev, opts)
	if err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	tree, err := observe(fs)
	if err == nil && fs.ReadOnly() != opts.ReadOnly {
		err = errors.New("the file system went read-only")
	}
	if err == nil && use {
		if err = useIt(fs); err != nil {
			err = fmt.Errorf("using it after recovery: %w", err)
		}
	}
	if e := fs.Unmount(); e != 0 && err == nil {
		err = fmt.Errorf("unmount: %v", e)
	}
	said.Lock()
	defer said.Unlock()
	for _, line := range said.lines {
		if err == nil && strings.Contains(line, "corrupt") {
			err = errors.New(line)
		}
	}
	return tree, err
}

// useIt writes to a recovered file system: what is marked free must be.
func useIt(fs *ext4.FS) error {
	root := fs.Root()
	defer root.Unref()
	dir, e := root.Create("after the crash", &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
	if e == abi.ENOSPC {
		return nil // the disk was full before
	}
	if e != 0 {
		return e
	}
	defer dir.Unref()
	for i := range 5 {
		n, e := dir.Create(fmt.Sprint("file", i), &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
		if e == abi.ENOSPC {
			break
		}
		if e != 0 {
			return e
		}
		_, _, e = n.Write(int64(i)*1000, 20000, &source{9999, uint32(i) + 1, int64(i) * 1000})
		if e == 0 {
			e = n.Sync(false)
		}
		n.Unref()
		if e != 0 && e != abi.ENOSPC {
			return e
		}
	}
	if e := fs.Sync(); e != 0 {
		return e
	}
	return nil
}

// clean has e2fsck look at an image that was unmounted. It must have nothing to say.
func (l *looker) clean(img *faultdev.Image) error {
	if err := l.file.show(img); err != nil {
		return err
	}
	out, err := exec.Command(l.e2fsck, "-fn", l.file.path).CombinedOutput()
	return silent(out, err)
}

// silent says what e2fsck has found, if anything. That the tree of extents of a file could be
// smaller is not an error: Linux leaves such trees, too, and ours makes them small when it unmounts.
func silent(out []byte, err error) error {
	for line := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		switch {
		case line == "", strings.Contains(line, "extent tree") && strings.HasSuffix(line, "Optimize? no"):
		case strings.HasPrefix(line, "e2fsck "), strings.HasPrefix(line, "Pass "), strings.Contains(line, " files ("):
		default:
			return fmt.Errorf("e2fsck -fn after recovery is not silent (%v):\n%s", err, out)
		}
	}
	if err != nil {
		return fmt.Errorf("e2fsck -fn after recovery: %v\n%s", err, out)
	}
	return nil
}

// mend has e2fsck recover from the crash; the result must be the same tree.
func (l *looker) mend(img *faultdev.Image, want []string) error {
	count.fsck.Add(1)
	if err := l.file.show(img); err != nil {
		return err
	}
	defer l.file.forget()
	out, err := exec.Command(l.e2fsck, "-fy", l.file.path).CombinedOutput()
	// 1: something was corrected, which orphans and counters in the superblock are.
	if exit, ok := err.(*exec.ExitError); err != nil && !(ok && exit.ExitCode() == 1) {
		return fmt.Errorf("e2fsck -fy of the crashed image: %v\n%s", err, out)
	}
	if out, err := exec.Command(l.e2fsck, "-fn", l.file.path).CombinedOutput(); err != nil {
		return fmt.Errorf("e2fsck -fn after e2fsck -fy: %v\n%s", err, out)
	}
	mended, err := filedev.New(l.file.file)
	if err != nil {
		return err
	}
	tree, err := recoverOn(mended, ext4.Options{ReadOnly: true}, false)
	if err != nil {
		return fmt.Errorf("after e2fsck -fy: %w", err)
	}
	if d := differences(want, tree.all("lost+found")); d != "" {
		return fmt.Errorf("e2fsck -fy of the crashed image gives something else (- our recovery, + e2fsck's):\n%s\n%s", d, out)
	}
	return nil
}

// mountOnHost has the host's ext4 recover from the crash; the result must be the same tree.
func (l *looker) mountOnHost(img *faultdev.Image, want []string) error {
	if err := l.file.show(img); err != nil {
		return err
	}
	defer l.file.forget()
	dir := l.file.path + ".mnt"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer os.Remove(dir)
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,noatime", l.file.path, dir).CombinedOutput(); err != nil {
		if noLoop(out) {
			return nil // not a matter of the image
		}
		return fmt.Errorf("the host cannot mount the crashed image: %v\n%s", err, out)
	}
	count.host.Add(1)
	tree, err := observeHost(dir)
	if e := harness.Unmount(dir); e != nil && err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("the crashed image on the host: %w", err)
	}
	if d := differences(want, tree.all("lost+found")); d != "" {
		return fmt.Errorf("the host shows another tree than ours of the crashed image (- ours, + host's):\n%s", d)
	}
	if out, err := exec.Command(l.e2fsck, "-fn", l.file.path).CombinedOutput(); err != nil {
		return fmt.Errorf("e2fsck -fn after the host's recovery: %v\n%s", err, out)
	}
	return nil
}

// noLoop tells that mount has failed for want of loop devices, as in containers.
func noLoop(out []byte) bool {
	s := string(out)
	return strings.Contains(s, "loop device") || strings.Contains(s, "permission denied") || strings.Contains(s, "Operation not permitted")
}

// crashAgain cuts the recovery itself short; the next one must give the same tree.
func (l *looker) crashAgain(img *faultdev.Image, events []faultdev.Event, want []string) error {
	c := faultdev.Crashes{Base: img, Events: events, Seed: uint64(l.n), PerWindow: 6, Total: 20, Whole: wholeSuperblock}
	for s := range c.States() {
		count.nested.Add(1)
		tree, err := recoverOn(faultdev.NewOn(s.Image), ext4.Options{}, false)
		if err == nil {
			err = l.clean(s.Image)
		}
		if err == nil {
			if d := differences(want, tree.all("lost+found")); d != "" {
				err = fmt.Errorf("something else is there (- recovered at once, + after the second crash):\n%s", d)
			}
		}
		if err != nil {
			return fmt.Errorf("crash during recovery, state %s of %d events: %w", s.ID, len(events), err)
		}
	}
	return nil
}

// mirror is a file that is made to have the content of one image after the other, by writing
// what differs.
type mirror struct {
	path  string
	file  *os.File
	shown *faultdev.Image // nil: not known
}

func newMirror(t testing.TB) *mirror {
	t.Helper()
	dir := "/dev/shm" // memory, where there is some
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		dir = ""
	}
	f, err := os.CreateTemp(dir, "pinhole-crash-")
	if err != nil {
		f, err = os.CreateTemp("", "pinhole-crash-")
	}
	if err != nil {
		t.Fatal(err)
	}
	return &mirror{path: f.Name(), file: f}
}

func (m *mirror) close() {
	m.file.Close()
	os.Remove(m.path)
}

// forget says that somebody else has written the file.
func (m *mirror) forget() { m.shown = nil }

func (m *mirror) show(img *faultdev.Image) error {
	if m.shown == nil || m.shown.Size() != img.Size() {
		m.shown = faultdev.NewZeroImage(img.Size())
		if err := errors.Join(m.file.Truncate(0), m.file.Truncate(img.Size())); err != nil {
			return err
		}
	}
	err := img.Pages(m.shown, func(off int64, data []byte) error {
		_, err := m.file.WriteAt(data, off)
		return err
	})
	m.shown = img.Clone()
	return err
}
