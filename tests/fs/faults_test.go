package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4"
	"pinhole/fs/ext4/check"
	"pinhole/fs/vfs/vfstest"
)

// task is what is done while the device fails: steps, after others that prepare the image.
type task struct {
	name    string
	prepare []string
	steps   []string
}

// repeat makes count lines, with the number in place of %d.
func repeat(count int, format string) []string {
	var out []string
	for i := range count {
		out = append(out, strings.ReplaceAll(format, "%d", fmt.Sprint(i)))
	}
	return out
}

func steps(lists ...[]string) []string { return slices.Concat(lists...) }

// fragments writes every other block of a file of 1 KiB blocks: a tree of extents of depth 2.
func fragments(path string, count int) []string {
	out := []string{"hold frag " + path + " creat|rw 644"}
	for i := range count {
		out = append(out, fmt.Sprintf("fput frag %d {@%d*700}", i*2048, i))
	}
	return append(out, "fsync frag", "drop frag")
}

// tasks have every call that changes something, and what takes several steps inside.
var tasks = []task{
	{"names", []string{"mkdir d 755", "write d/old {@1*3000}"}, []string{
		"mkdir e 700", "mknod e/fifo fifo 644", "mknod e/dev chr 600 259", "symlink {t*40} e/short", "symlink {t*300} e/long",
		"link d/old e/link", "open e/new creat|excl|rw 600", "rename d/old e/moved", "unlink e/link", "sync",
		"rmdir d", "unlink e/fifo", "unlink e/long", "sync"}},
	{"write", nil, []string{
		"hold h f creat|rw 644", "fput h 0 {@1*5000}", "fsync h", "fput h 3000 {@2*9000}", "fdatasync h", "fadd h {@3*100}", "fsync h", "drop h"}},
	{"large", []string{"write f {@7*20000}"}, []string{
		"hold h f rw", "fput h 10000 {@1*900000}", "fsync h", "fput h 400000 {@2*300000}", "fsync h", "fput h 5000000 {@3*10}", "fsync h", "drop h", "sync"}},
	{"append", []string{"open log creat|rw 644", "sync"}, steps([]string{"hold h log rw|append"},
		[]string{"fadd h {@1*700}", "fdatasync h", "fadd h {@2*700}", "fdatasync h", "fadd h {@3*700}", "fsync h", "fadd h {@4*700}", "fdatasync h"})},
	{"truncate", fragments("f", 400), []string{
		"truncate f 500000", "sync", "truncate f 700001", "sync", "truncate f 3", "sync", "truncate f 0", "sync"}},
	{"unlink", steps(fragments("f", 400), fragments("g", 100)), []string{
		"hold g g rw", "unlink f", "unlink g", "sync", "fput g 0 {@1*5000}", "drop g", "sync"}},
	{"rename", []string{"mkdir a 755", "mkdir b 755", "mkdir a/sub 755", "write a/f {@1*5000}", "write b/f {@2*50000}", "write b/x {@3*100}", "mkdir b/sub 755"}, []string{
		"rename a/f b/f", "sync", "rename a/sub b/sub", "sync", "rename b/x b/sub exchange", "sync",
		"hold h a/new creat|rw 644", "fput h 0 {@4*8000}", "drop h", "rename a/new b/f", "sync"}},
	{"htree", steps([]string{"mkdir d 755"}, repeat(60, "mknod d/a-name-of-some-length-%d reg 600")), steps(
		repeat(60, "mknod d/another-name-of-some-length-%d reg 600"), []string{"sync"},
		repeat(60, "rename d/another-name-of-some-length-%d d/and-now-it-is-called-something-much-longer-%d"), []string{"sync"},
		repeat(60, "unlink d/a-name-of-some-length-%d"), []string{"sync"})},
	{"split", []string{"hold h f creat|rw 644", "fallocate h 0 0 1200000", "fsync h"}, steps([]string{"hold frag f rw"},
		fragments("f", 200)[1:201], []string{"fsync frag", "drop frag", "sync"})},
	{"punch", []string{"write f {@1*900000}"}, []string{
		"hold h f rw", "fallocate h keep|punch 10000 5000", "fsync h", "fallocate h zero 100000 50001", "fsync h",
		"fallocate h keep 2000000 100000", "fsync h", "fallocate h keep|punch 0 900000", "fsync h", "drop h", "sync"}},
	{"xattrs", []string{"write f {@1*100}", "setxattr f user.first {@1*50}", "mkdir d 755"}, []string{
		"setxattr f user.small {@2*20}", "sync", "setxattr f user.large {@3*600}", "sync", "setxattr f user.large {@4*500}", "sync",
		"setxattr d trusted.x {@5*700}", "rmxattr f user.large", "sync", "rmxattr f user.first", "unlink f", "sync"}},
	{"attributes", []string{"write f {@1*100}", "mkdir d 755"}, []string{
		"chmod f 4711", "lchown f 1000 70000", "ltimes f 5 7", "chmod d 1777", "sync", "ltimes d 9 11", "sync"}},
	{"checkpoint", nil, steps([]string{"mkdir d 755"}, circle(12))},
	{"unmount", []string{"write f {@1*10000}"}, []string{
		"hold h f rw", "fput h 3 {@2*40000}", "mkdir d 755", "write d/g {@3*3000}", "truncate f 20000"}},
}

// circle fills a small journal several times.
func circle(rounds int) []string {
	var out []string
	for i := range rounds {
		out = append(out, fmt.Sprintf("mkdir d/%d 755", i))
		for k := range 6 {
			out = append(out, fmt.Sprintf("write d/%d/file%d {@%d*%d}", i, k, k, 500+k*900))
		}
		if i > 2 {
			for k := range 6 {
				out = append(out, fmt.Sprintf("unlink d/%d/file%d", i-2, k))
			}
			out = append(out, fmt.Sprintf("rmdir d/%d", i-2))
		}
		out = append(out, "sync")
	}
	return out
}

// faultKinds are the images that tasks run on: with the shortest journals there are.
var faultKinds = []kind{
	{name: "fault1k", size: "16M", mkfs: []string{"-b", "1024", "-J", "size=1", "-N", "2048"}, block: 1024},
	{name: "fault4k", size: "24M", mkfs: []string{"-b", "4096", "-J", "size=4", "-N", "2048"}, block: 4096},
}

// fault says which operation of the device fails.
type fault struct {
	op        faultdev.Op
	nth       int64 // from 1
	permanent bool  // and all of its kind behind it
	err       error
}

func (f fault) String() string {
	s := fmt.Sprintf("%v %d fails", f.op, f.nth)
	if f.permanent {
		s += " and all that follow"
	}
	return s + ": " + f.err.Error()
}

// attempt is a task under a fault.
type attempt struct {
	t      testing.TB
	kind   kind
	task   task
	base   *faultdev.Image
	dev    *faultdev.Device
	fault  fault
	counts [3]atomic.Int64
	armed  atomic.Bool
	// fill, if not nil, is called before the steps, and empty after them.
	fill, empty func(s *vfstest.Session, fs *ext4.FS) error
	fired       atomic.Bool
	log         []string
}

func (a *attempt) failing(op faultdev.Op, off int64, n int) error {
	if !a.armed.Load() {
		return nil
	}
	k := a.counts[op].Add(1)
	if op != a.fault.op || k < a.fault.nth || k > a.fault.nth && !a.fault.permanent {
		return nil
	}
	a.fired.Store(true)
	return a.fault.err
}

// options let nothing happen by the clock, so that the n-th operation is the same one each time.
func (a *attempt) options() ext4.Options {
	return ext4.Options{CacheBytes: 4 << 20, FlushAfter: time.Hour, CommitEvery: time.Hour, NoAtime: true, Log: func(format string, args ...any) {
		if strings.HasPrefix(format, "reserve of inode") {
			a.t.Errorf(format, args...)
		}
		a.log = append(a.log, fmt.Sprintf(format, args...))
	}}
}

// allowed are the results of a step that a failing device may cause.
func allowed(result string) bool {
	return slices.Contains([]string{"EIO", "ENOSPC", "EROFS"}, result)
}

// follow are results that come of an earlier step that was not done.
func follow(result string) bool {
	return slices.Contains([]string{"ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "EBADF", "ENODATA", "ENOTEMPTY", "EINVAL"}, result) || result == "OK" || strings.HasPrefix(result, "OK ")
}

// durable is what was told to be on stable storage.
type durable struct {
	sums map[string]string // paths of fsynced files
	tree []string          // at the last sync; nil: none
	// after are the steps since.
	after map[string]int
	all   int
}

// run does the task, and returns what is wrong. want are the results without a fault, filled in
// if it is nil.
func (a *attempt) run(want *[]string) error {
	a.dev = faultdev.NewOn(a.base.Clone())
	a.dev.Fail = a.failing
	goroutines := runtime.NumGoroutine()
	fs, err := ext4.Mount(a.dev, a.options())
	if err != nil {
		return fmt.Errorf("mount: %v", err)
	}
	inst := vfstest.NewMounted(fs, nil, nil)
	root, err := inst.Start()
	if err != nil {
		return err
	}
	s := vfstest.NewSession(root)
	if a.fill != nil {
		if err := a.fill(s, fs); err != nil {
			return err
		}
	}
	d := durable{sums: make(map[string]string), after: make(map[string]int)}
	paths := make(map[string]string) // of handles
	measure := want != nil && *want == nil
	failed := false
	a.armed.Store(true)
	for i, line := range a.task.steps {
		result := s.Do(line)
		switch {
		case measure:
			*want = append(*want, result)
		case !failed && result != (*want)[i]:
			if !a.fired.Load() && a.fill == nil {
				return fmt.Errorf("%s: %s without a fault, %s before", clip(line), result, (*want)[i])
			}
			failed = true
			if !allowed(result) && !shortWrite(line, result) {
				return fmt.Errorf("%s: %s", clip(line), result)
			}
		case failed && !allowed(result) && !follow(result):
			return fmt.Errorf("%s: %s, after an earlier failure", clip(line), result)
		}
		w := strings.Fields(line)
		if w[0] == "hold" && result == "OK" {
			paths[w[1]] = w[2]
		}
		if result != "OK" {
			continue
		}
		// Looking must not meet the fault.
		a.armed.Store(false)
		switch w[0] {
		case "fsync", "fdatasync":
			d.sums[paths[w[1]]] = s.Do("sum " + paths[w[1]])
			d.after[paths[w[1]]] = i
		case "sync":
			var e abi.Errno
			if d.tree, e = s.Dump(); e != 0 {
				return fmt.Errorf("reading the tree after a sync: %s", e.String())
			}
			d.all = i
		}
		a.armed.Store(true)
	}
	if a.empty != nil {
		if err := a.empty(s, fs); err != nil {
			return err
		}
	}
	s.Close()
	if err := inst.Close(); err != nil && !a.fired.Load() {
		return err
	} else if err != nil && !allowed(strings.TrimPrefix(err.Error(), "unmount: ")) {
		return err
	}
	a.armed.Store(false)
	if err := settled(goroutines); err != nil {
		return err
	}
	return a.after(&d)
}

func clip(s string) string { return s[:min(len(s), 100)] }

// shortWrite tells whether a step wrote a part of what it was to write.
func shortWrite(line, result string) bool {
	return (strings.HasPrefix(line, "fput ") || strings.HasPrefix(line, "fadd ")) && strings.HasPrefix(result, "OK ")
}

// settled waits until there are no more goroutines than before.
func settled(before int) error {
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	buf := make([]byte, 1<<16)
	return fmt.Errorf("goroutines are left after the unmount:\n%s", buf[:runtime.Stack(buf, true)])
}

// after mounts what the device has now that it works again: the journal is replayed, the image
// is clean, and what was durable is there.
func (a *attempt) after(d *durable) error {
	fs, err := ext4.Mount(a.dev, a.options())
	if err != nil {
		return fmt.Errorf("mount afterwards: %v", err)
	}
	inst := vfstest.NewMounted(fs, nil, nil)
	root, err := inst.Start()
	if err != nil {
		return fmt.Errorf("mount afterwards: %v", err)
	}
	s := vfstest.NewSession(root)
	for path, sum := range d.sums {
		if a.touched(path, d.after[path]) {
			continue
		}
		if got := s.Do("sum " + path); got != sum {
			return fmt.Errorf("%s was fsynced with %q, and now is %q", path, sum, got)
		}
	}
	tree, e := s.Dump()
	if e != 0 {
		return fmt.Errorf("reading the tree afterwards: %s", e.String())
	}
	for _, line := range d.tree {
		path, _, _ := strings.Cut(strings.TrimPrefix(line, "./"), ": ")
		if !a.touched(path, d.all) && !strings.HasPrefix(path, "filler") && !slices.Contains(tree, line) {
			return fmt.Errorf("%s was synced, and is missing or different afterwards", line)
		}
	}
	s.Close()
	if err := inst.Close(); err != nil {
		return fmt.Errorf("unmount afterwards: %v", err)
	}
	return clean(a.t, a.dev)
}

// touched tells whether a step behind the given one names a path, or a directory above it or
// something in it.
func (a *attempt) touched(path string, since int) bool {
	for _, line := range a.task.steps[since+1:] {
		for _, w := range strings.Fields(line)[1:] {
			if w == path || strings.HasPrefix(w, path+"/") || strings.HasPrefix(path, w+"/") || strings.HasPrefix(line, "f") && len(w) <= 4 {
				return true
			}
		}
	}
	return false
}

// clean fails unless both checkers find nothing.
func clean(t testing.TB, dev *faultdev.Device) error {
	r, err := check.Run(dev, check.Options{})
	if err != nil {
		return fmt.Errorf("check: %v", err)
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("check: %v", err)
	}
	dir, err := os.MkdirTemp(t.TempDir(), "fsck")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "image")
	if err := save(path, dev.Image()); err != nil {
		return err
	}
	return fsckFile(t, path, true)
}

// prepared returns the image on which a task runs.
func prepared(t *testing.T, k kind, task task) *faultdev.Image {
	t.Helper()
	m := faultdev.NewImage(k.image(t))
	fs, err := ext4.Mount(faultdev.NewOn(m), ext4.Options{CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	inst := vfstest.NewMounted(fs, nil, nil)
	root, err := inst.Start()
	if err != nil {
		t.Fatal(err)
	}
	s := vfstest.NewSession(root)
	for _, line := range task.prepare {
		if r := s.Do(line); r != "OK" && !strings.HasPrefix(r, "OK ") {
			t.Fatalf("prepare: %s: %s", line, r)
		}
	}
	s.Close()
	if err := inst.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// eachTask runs a test of each task on each kind of image, or of a sample of them.
func eachTask(t *testing.T, do func(t *testing.T, k kind, task task)) {
	for _, k := range faultKinds {
		for i, task := range tasks {
			t.Run(k.name+"/"+task.name, func(t *testing.T) {
				if !long && (testing.Short() || i%2 == 0) != (k.block == 1024) {
					t.Skip("a sample: half of the tasks on each kind of image")
				}
				do(t, k, task)
			})
		}
	}
}

// TestFaults lets every read, write and flush that a task makes fail, once and for good.
func TestFaults(t *testing.T) {
	eachTask(t, func(t *testing.T, k kind, task task) {
		base := prepared(t, k, task)
		var want []string
		first := &attempt{t: t, kind: k, task: task, base: base, fault: fault{nth: 1 << 60}}
		if err := first.run(&want); err != nil {
			t.Fatalf("without a fault: %v", err)
		}
		var faults []fault
		for _, op := range []faultdev.Op{faultdev.Read, faultdev.Write, faultdev.Flush} {
			n := first.counts[op].Load()
			step := int64(1)
			if most := int64(amount(6, 1<<30)); n > most {
				step = n/most + 1
			}
			for nth := int64(1); nth <= n; nth += step {
				for _, permanent := range []bool{false, true} {
					faults = append(faults, fault{op, nth, permanent, faultdev.ErrInjected})
					if op != faultdev.Read {
						faults = append(faults, fault{op, nth, permanent, blockdev.ErrNoSpace})
					}
				}
			}
		}
		t.Logf("%d reads, %d writes, %d flushes; %d faults", first.counts[0].Load(), first.counts[1].Load(), first.counts[2].Load(), len(faults))
		bad := 0
		for _, f := range faults {
			a := &attempt{t: t, kind: k, task: task, base: base, fault: f}
			if err := watched(a, &want); err != nil {
				t.Errorf("%v: %v\n%s", f, err, strings.Join(a.log, "\n"))
				if bad++; bad == 5 {
					t.Fatal("and so on")
				}
			}
		}
	})
}

var errHang = errors.New("it does not end")

// watched runs an attempt that must end, and turns a panic into an error.
func watched(a *attempt, want *[]string) (err error) {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				buf := make([]byte, 1<<16)
				done <- fmt.Errorf("panic: %v\n%s", r, buf[:runtime.Stack(buf, false)])
			}
		}()
		done <- a.run(want)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Minute):
		buf := make([]byte, 1<<18)
		return fmt.Errorf("%w:\n%s", errHang, buf[:runtime.Stack(buf, true)])
	}
}
