package crash

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4"
	"pinhole/fs/vfs"
	"pinhole/tests/harness"
)

// workload is what is done to a file system before it crashes.
type workload struct {
	name  string
	disk  string // of disks
	setup string // script that is done, and made durable, before
	// threads have a script each. One has the whole tree; of several, number i has the directory
	// ti, which the setup makes.
	threads [][]op
	// limits of faultdev.Crashes
	all, perWindow, total int
	// cache is the size of the file system's cache in bytes; 0 is enough for everything.
	cache int
	// behind is how long changes stay in memory; 0 is until they are made durable. A record of
	// such a workload differs from run to run.
	behind time.Duration
	// quiet says that operations are expected to fail, which is not worth a word.
	quiet bool
	// idle has everything safe at the end because enough time goes by, and not by a sync.
	idle bool
}

// disks are the file systems that workloads run on: size, and options of mkfs.ext4.
var disks = map[string]struct {
	size      string
	blockSize int64
	options   []string
}{
	"1k":       {"16M", 1024, []string{"-b", "1024", "-J", "size=1", "-N", "512"}},
	"4k":       {"32M", 4096, []string{"-b", "4096", "-J", "size=4", "-N", "1024"}},
	"list":     {"16M", 1024, []string{"-b", "1024", "-J", "size=1", "-O", "^orphan_file", "-N", "512"}},
	"nocsum":   {"16M", 2048, []string{"-b", "2048", "-J", "size=2", "-O", "^metadata_csum,^64bit,^orphan_file", "-N", "512"}},
	"many":     {"64M", 1024, []string{"-b", "1024", "-J", "size=1", "-N", "8192"}},
	"manybig":  {"64M", 4096, []string{"-b", "4096", "-J", "size=4", "-N", "8192"}},
	"tiny":     {"4M", 1024, []string{"-b", "1024", "-J", "size=1", "-N", "128", "-m", "0"}},
	"tinybig":  {"16M", 4096, []string{"-b", "4096", "-J", "size=4", "-N", "128", "-m", "0"}},
	"database": {"64M", 4096, []string{"-b", "4096", "-J", "size=4", "-N", "256"}},
}

// prepared is a disk after a workload's setup.
type prepared struct {
	mem       []byte
	mu        sync.Mutex // guards base, which a clone changes
	base      *faultdev.Image
	empty     *seen // before the setup
	log       []step
	blockSize int64
	spare     sync.Pool // of *[]byte with the content of mem
}

var preparedDisks struct {
	sync.Mutex
	all map[string]func() (*prepared, error)
}

// prepare makes the disk of a workload, or finds it.
func prepare(t testing.TB, disk, setup string) *prepared {
	t.Helper()
	mkfs := harness.Tool(t, "mkfs.ext4", "e2fsprogs")
	p := &preparedDisks
	p.Lock()
	key := disk + "\x00" + setup
	once := p.all[key]
	if once == nil {
		if p.all == nil {
			p.all = map[string]func() (*prepared, error){}
		}
		once = sync.OnceValues(func() (*prepared, error) { return newPrepared(mkfs, disk, setup) })
		p.all[key] = once
	}
	p.Unlock()
	d, err := once()
	if err != nil {
		t.Fatalf("prepare disk %q with %q: %v", disk, setup, err)
	}
	return d
}

// emptyDisk makes a disk with nothing on it.
func emptyDisk(t testing.TB, disk string) []byte {
	t.Helper()
	p, err := mkfsDisk(harness.Tool(t, "mkfs.ext4", "e2fsprogs"), disk)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mkfsDisk(mkfs, disk string) ([]byte, error) {
	c, ok := disks[disk]
	if !ok {
		return nil, fmt.Errorf("there is no disk %q", disk)
	}
	dir, err := os.MkdirTemp("", "pinhole-crash-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	img := filepath.Join(dir, "image")
	args := []string{"-q", "-F", "-U", "01234567-89ab-4cde-8f01-23456789abcd", "-E", "nodiscard,hash_seed=12345678-9abc-4def-8012-3456789abcde"}
	cmd := exec.Command(mkfs, append(append(args, c.options...), img, c.size)...)
	cmd.Env = append(os.Environ(), "E2FSPROGS_FAKE_TIME=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mkfs.ext4: %v\n%s", err, out)
	}
	return os.ReadFile(img)
}

func newPrepared(mkfs, disk, setup string) (p *prepared, err error) {
	p = &prepared{blockSize: disks[disk].blockSize}
	if p.mem, err = mkfsDisk(mkfs, disk); err != nil {
		return nil, err
	}
	fs, arena, _, err := mountForWork(faultdev.New(p.mem), &workload{})
	if err != nil {
		return nil, err
	}
	if p.empty, err = observe(fs); err != nil {
		return nil, err
	}
	r := &runner{root: fs.Root(), model: newModel(p.empty), arena: arena, clock: new(atomic.Int64), events: func() int { return 0 }, sync: fs.Sync, handles: map[string]vfs.Node{}}
	for _, o := range parseScript(setup) {
		if s := r.run(o); s.errno != 0 {
			return nil, fmt.Errorf("%v: %v", o, s.errno)
		}
	}
	p.log = r.log
	r.close()
	r.root.Unref()
	if e := fs.Unmount(); e != 0 {
		return nil, fmt.Errorf("unmount: %v", e)
	}
	p.base = faultdev.NewImage(p.mem)
	return p, nil
}

// model makes the model as it is after the setup.
func (p *prepared) model() *model {
	m := newModel(p.empty)
	for i, s := range p.log {
		m.apply(i, s.op, s.outcome)
	}
	return m
}

// image returns the disk's content.
func (p *prepared) image() *faultdev.Image {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.base.Clone()
}

// take returns memory with the disk's content, and what gives it back given what was written to it.
func (p *prepared) take() ([]byte, func([]faultdev.Event)) {
	m, _ := p.spare.Get().(*[]byte)
	if m == nil {
		b := make([]byte, len(p.mem))
		p.base.Pages(nil, func(off int64, data []byte) error {
			copy(b[off:], data)
			return nil
		})
		m = &b
	}
	return *m, func(events []faultdev.Event) {
		for _, e := range events {
			copy((*m)[e.Off:][:len(e.Data)], p.mem[e.Off:])
		}
		p.spare.Put(m)
	}
}

// needJournal skips the test while the file system writes no journal.
func needJournal(t testing.TB) {
	t.Helper()
	dev := faultdev.New(emptyDisk(t, "1k"))
	fs, _, _, err := mountForWork(dev, &workload{})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Unmount()
	root := fs.Root()
	defer root.Unref()
	n, e := root.Create("x", &vfs.NewNode{Mode: abi.S_IFREG | 0o600})
	if e != 0 {
		t.Fatal(e)
	}
	n.Unref()
	fs.Sync()
	if sb := dev.Image()[1024:2048]; binary.LittleEndian.Uint32(sb[0x60:])&4 == 0 {
		t.Skip("the file system writes no journal yet: it survives no crash")
	}
}

// messages collects what a file system says.
type messages struct {
	sync.Mutex
	lines []string
}

func (m *messages) add(format string, args ...any) {
	m.Lock()
	m.lines = append(m.lines, fmt.Sprintf(format, args...))
	m.Unlock()
}

// mountForWork mounts a file system that writes nothing behind by itself, unless the workload
// says so, and whose clock says the same in each run.
func mountForWork(dev *faultdev.Device, w *workload) (*ext4.FS, *blockdev.Arena, *messages, error) {
	size := w.cache
	if size == 0 {
		size = 24 << 20
	}
	arena := blockdev.NewArena(make([]byte, size))
	var clock atomic.Int64
	var said messages
	opts := ext4.Options{
		Arena:       arena,
		Clock:       func() (int64, int32) { return 1_700_000_000 + clock.Add(1), 0 },
		Log:         said.add,
		FlushAfter:  time.Hour,
		CommitEvery: time.Hour,
	}
	if w.behind != 0 {
		opts.FlushAfter, opts.CommitEvery = w.behind, 2*w.behind
	}
	fs, err := ext4.Mount(faultdev.Mapped{Device: dev}, opts)
	return fs, arena, &said, err
}

// record is a workload that was done.
type record struct {
	events  []faultdev.Event
	oracle  *oracle
	disk    *prepared
	failing []string // operations that failed
}

// execute does a workload.
func (w *workload) execute(t testing.TB) (*record, error) {
	disk := prepare(t, w.disk, w.setup)
	mem, give := disk.take()
	dev := faultdev.New(mem)
	dev.RecordFrom()
	defer func() { give(dev.Events()) }()
	fs, arena, said, err := mountForWork(dev, w)
	if err != nil {
		return nil, err
	}
	rec := &record{disk: disk, oracle: &oracle{setup: len(disk.log), blockSize: disk.blockSize, known: layouts{}}}
	clock := new(atomic.Int64)
	for i := range w.threads {
		r := &runner{root: fs.Root(), arena: arena, clock: clock, events: dev.Recorded, sync: fs.Sync, start: disk.model, handles: map[string]vfs.Node{}}
		if len(w.threads) > 1 {
			r.start = func() *model { return disk.model().sub(fmt.Sprint("t", i), i) }
		}
		r.model = r.start()
		rec.oracle.threads = append(rec.oracle.threads, r)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, ops := range w.threads {
		r := rec.oracle.threads[i]
		wg.Go(func() {
			for _, o := range ops {
				if s := r.run(o); s.errno != 0 {
					mu.Lock()
					rec.failing = append(rec.failing, fmt.Sprintf("%v: %v", o, s.errno))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if w.idle {
		waitQuiet(dev)
		// It counts as a sync.
		r := rec.oracle.threads[0]
		r.sync = func() abi.Errno { return 0 }
	}
	rec.oracle.threads[0].run(op{name: "sync"})
	for _, r := range rec.oracle.threads {
		r.close()
		r.root.Unref()
	}
	e := fs.Unmount()
	rec.events = dev.Events()
	said.Lock()
	defer said.Unlock()
	if e != 0 {
		return nil, fmt.Errorf("unmount: %v\n%s", e, said.lines)
	}
	return rec, nil
}

// waitQuiet returns when the device has had nothing to do for a while.
func waitQuiet(dev *faultdev.Device) {
	const enough = 50
	for calm, last := 0, -1; calm < enough; calm++ {
		if n := dev.Recorded(); n != last {
			calm, last = 0, n
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// crashes are the states that the workload can leave behind.
func (w *workload) crashes(rec *record) *faultdev.Crashes {
	return &faultdev.Crashes{
		Base: rec.disk.image(), Events: rec.events, Seed: *seed,
		All: w.all, PerWindow: w.perWindow, Total: w.total,
		Whole: wholeSuperblock,
	}
}

// wholeSuperblock is the range that no crash tears: the superblock has two sectors and a checksum
// over both. Linux, too, relies on its being written as a whole, as disks with sectors of 4 KiB do.
var wholeSuperblock = [][2]int64{{1024, 2048}}

// run does a workload and looks at all of its crash states, or at the one that was asked for.
func (w *workload) run(t *testing.T) {
	rec, err := w.execute(t)
	count.workloads.Add(1)
	if err != nil {
		w.fail(t, nil, "", err)
		return
	}
	if !w.quiet {
		for _, line := range rec.failing {
			// It has no effect; but who writes workloads wants to know.
			t.Logf("%s: %s", w.name, line)
		}
	}
	c := w.crashes(rec)
	if *onlyState != "" {
		s, err := c.State(*onlyState)
		if err != nil {
			t.Fatal(err)
		}
		dumpImage(t, s.Image, *dump)
		l := newLooker(t)
		defer l.close()
		if err := l.check(rec, s); err != nil {
			w.fail(t, rec, s.ID, err)
		}
		return
	}
	l := newLooker(t)
	defer l.close()
	failures := 0
	for s := range c.States() {
		if err := l.check(rec, s); err != nil {
			w.fail(t, rec, s.ID, err)
			w.keep(t, rec, s.ID)
			if failures++; failures == 3 {
				break // the rest would be the same
			}
		}
	}
}

// fail reports a failure with what makes it again.
func (w *workload) fail(t testing.TB, rec *record, state string, err error) {
	t.Helper()
	count.failures.Add(1)
	text := ""
	for i, ops := range w.threads {
		s := scriptText(ops)
		if len(s) > 600 && *onlyState == "" {
			s = s[:300] + " ... " + s[len(s)-300:]
		}
		if len(w.threads) > 1 {
			text += fmt.Sprintf("thread %d: ", i)
		}
		text += s + "\n"
	}
	if rec != nil {
		text += fmt.Sprintf("(the setup is operations 0 to %d)\n", rec.oracle.setup-1)
	}
	t.Errorf("workload %q on disk %q, state %q:\n%v\nsetup: %s\n%sagain: go test ./tests/crash -run '^%s$' -seed %d -workload %q -state %q -dump IMAGE",
		w.name, w.disk, state, err, w.setup, text, t.Name(), *seed, w.name, state)
}

// keep leaves the image of a failed state behind if the workload's record is another one each time,
// so that the state cannot be made again.
func (w *workload) keep(t testing.TB, rec *record, id string) {
	if len(w.threads) == 1 && w.behind == 0 {
		return
	}
	s, err := w.crashes(rec).State(id)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp("", "pinhole-crash-*.img")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	dumpImage(t, s.Image, f.Name())
}

// dumpImage writes an image to a file, unless its path is empty.
func dumpImage(t testing.TB, m *faultdev.Image, path string) {
	if path == "" {
		return
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(m.Size()); err != nil {
		t.Fatal(err)
	}
	if err := m.Pages(nil, func(off int64, data []byte) error {
		_, err := f.WriteAt(data, off)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("the image is in %s", path)
}

// runAll runs workloads, as many at a time as there are processors.
func runAll(t *testing.T, all []*workload) {
	t.Helper()
	work := make(chan *workload)
	var wg sync.WaitGroup
	for range parallel() {
		wg.Go(func() {
			for w := range work {
				if *keepGoing || count.failures.Load() < maxFailures {
					w.run(t)
				}
			}
		})
	}
	sofar := counted(t)
	for i, w := range all {
		if *onlyWorkload == "" || *onlyWorkload == w.name {
			work <- w
		}
		if long && i%100 == 99 {
			t.Logf("%d of %d: %s", i+1, len(all), sofar())
		}
	}
	close(work)
	wg.Wait()
}

// maxFailures is when a test gives up: whoever mends the first ones will run it again.
const maxFailures = 12
