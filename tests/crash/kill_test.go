package crash

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pinhole/blockdev/filedev"
	"pinhole/fs/ext4"
	"pinhole/tests/harness"
)

// TestKill ends sandboxes under load with SIGKILL, in turn the supervisor and the process with the
// program in it. What the program has reported as durable must be on the image, which must be clean,
// and nothing else may be left of the sandbox.
func TestKill(t *testing.T) {
	program := harness.GuestCC(t, filepath.Join("src", "load.c"))
	img := harness.Image(t, "64M", map[string]string{"/bin/load": program})
	rng := rand.New(rand.NewPCG(*seed, 3))
	t.Logf("seed %d", *seed)
	k := &killer{t: t, image: img}
	for round := range choose(10, 200) {
		k.round(round, round%2 == 1, time.Duration(20+rng.IntN(300))*time.Millisecond)
		if t.Failed() {
			t.Logf("round %d; the image is %s", round, keepFile(t, img))
			break
		}
	}
	t.Logf("%d steps were reported as durable", k.steps)
}

// keepFile copies a file of a failed test to where it stays.
func keepFile(t testing.TB, path string) string {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp("", "pinhole-crash-*.img")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(p); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// killer kills one sandbox after the other on one image.
type killer struct {
	t        *testing.T
	image    string
	steps    int
	previous map[string]bool // what the round before has reported; nothing has changed it since
}

// round starts a sandbox, kills it after a while, and looks at the image.
func (k *killer) round(nr int, supervisor bool, after time.Duration) {
	t := k.t
	before := processesOf(t, k.image)
	if len(before) > 0 {
		t.Fatalf("processes %v have the image open", before)
	}
	cmd := exec.Command(harness.Pinhole(t), "run", "--image", k.image, "--memory", "256M", "/bin/load", strconv.Itoa(nr))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the load does not start: %v\n%s", err, errs.String())
	}
	if n := len(processesOf(t, k.image)); n != 2 {
		t.Errorf("%d processes have the image open, want supervisor and sandbox", n)
	}
	victim := cmd.Process.Pid
	if !supervisor {
		victim = childOf(t, cmd.Process.Pid)
	}
	timer := time.AfterFunc(after, func() { unix.Kill(victim, unix.SIGKILL) })
	rest, err := io.ReadAll(lines)
	timer.Stop()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if s := harness.Messages(errs.String()); strings.Contains(s, "load:") {
		t.Fatalf("the load failed: %s", s)
	}
	if supervisor {
		// The sandbox's end follows that of its supervisor, but nobody waits for it.
		for try := 0; len(processesOf(t, k.image)) > 0; try++ {
			if try == 200 {
				t.Fatalf("processes %v outlive their supervisor", processesOf(t, k.image))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if left := processesOf(t, k.image); len(left) > 0 {
		t.Fatalf("processes %v are left of the sandbox", left)
	}
	// A last line may be cut off.
	text := first + string(rest)
	k.look(nr, strings.Split(text[:strings.LastIndexByte(text, '\n')], "\n"))
}

// childOf returns the process that another one has started.
func childOf(t testing.TB, pid int) int {
	t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		p, _ := os.ReadFile(f)
		for s := range strings.FieldsSeq(string(p)) {
			n, _ := strconv.Atoi(s)
			return n
		}
	}
	t.Skip("the host does not tell the children of a process (CONFIG_PROC_CHILDREN)")
	return 0
}

// processesOf returns the processes that have a file open.
func processesOf(t testing.TB, path string) []int {
	t.Helper()
	want, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, fd := range fds {
		st, err := os.Stat(fd)
		if err != nil || !os.SameFile(st, want) {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(fd, "/")[2])
		if pid != os.Getpid() && !slices.Contains(out, pid) {
			out = append(out, pid)
		}
	}
	return out
}

// look has a copy of the image recovered and compares it with what was reported.
func (k *killer) look(nr int, reports []string) {
	t := k.t
	img := filepath.Join(t.TempDir(), "copy")
	harness.Must(t, harness.Tool(t, "cp", "coreutils"), "--sparse=always", k.image, img)
	defer os.Remove(img)
	if r := harness.Exec(t, "", "", harness.Pinhole(t), "image", "check", img); r.Status != 0 {
		t.Errorf("pinhole image check: status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
	tree := recoverFile(t, img)
	harness.Fsck(t, img)
	if t.Failed() {
		return
	}
	files := map[string]*seenInode{}
	for _, e := range tree.entries {
		files[e.path] = tree.inodes[e.ino]
	}
	for _, r := range reports {
		k.steps++
		k.report(files, nr, r, reports)
	}
	// A round does not touch the one before.
	for f := range k.previous {
		if files[f] == nil {
			t.Errorf("%s, which an earlier sandbox left, is gone", f)
		}
	}
	k.previous = map[string]bool{}
	for f := range files {
		if strings.HasPrefix(f, fmt.Sprintf("r%d/", nr)) {
			k.previous[f] = true
		}
	}
}

// recoverFile mounts an image of a file, looks at everything, and unmounts.
func recoverFile(t testing.TB, path string) *seen {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dev, err := filedev.New(f)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := ext4.Mount(dev, ext4.Options{NoAtime: true, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	tree, err := observe(fs)
	if err != nil {
		t.Error(err)
	}
	if e := fs.Unmount(); e != 0 {
		t.Errorf("unmount: %v", e)
	}
	return tree
}

// report checks one line that the load has written.
func (k *killer) report(files map[string]*seenInode, nr int, line string, all []string) {
	t := k.t
	var what string
	var thread, n, size int
	if c, err := fmt.Sscan(line, &what, &thread, &n, &size); c < 3 {
		t.Errorf("report %q: %v", line, err)
		return
	}
	dir := fmt.Sprintf("r%d/t%d/", nr, thread)
	a, b := files[dir+fmt.Sprint("a", n)], files[dir+fmt.Sprint("b", n)]
	switch what {
	case "F":
		// It has one name or the other, unless it has been removed since, or is being removed.
		switch {
		case a != nil && b != nil:
			t.Errorf("%q: it has both names", line)
		case a != nil:
			k.compare(line, a, nr, thread, n, size)
		case b != nil:
			k.compare(line, b, nr, thread, n, size)
		case !removable(all, thread, n):
			t.Errorf("%q: it has neither name", line)
		}
	case "R":
		if a != nil || b == nil && !removable(all, thread, n) {
			t.Errorf("%q: a is there: %v, b is there: %v", line, a != nil, b != nil)
		}
	case "D":
		if a != nil || b != nil {
			t.Errorf("%q: it is there", line)
		}
	case "O":
		over := files[dir+"over"]
		switch {
		case over == nil:
			t.Errorf("%q: it is not there", line)
		case laterOver(all, thread, n):
		case over.size == int64(size):
			k.compare(line, over, nr, thread, n, size)
		default: // the next one, which has not been reported yet
			k.compare(line+", or the next one", over, nr, thread, n+5, max(int(over.size), 1))
		}
	case "L":
		log := files[dir+"log"]
		if log == nil || log.size < int64(n)*64 || log.size%64 != 0 {
			t.Errorf("%q: the log is %+v", line, log)
			return
		}
		for i := range n {
			for j := range 64 {
				if got, want := byteAt(log, int64(i*64+j)), loadByte(nr, thread, i, int64(j)); got != want {
					t.Errorf("%q: record %d of the log has %#x at %d, want %#x", line, i, got, j, want)
					return
				}
			}
		}
	}
}

// removable tells whether a file may have been removed, reported or not: ten files later.
func removable(all []string, thread, n int) bool {
	return slices.ContainsFunc(all, func(line string) bool {
		return strings.HasPrefix(line, fmt.Sprintf("F %d %d ", thread, n+10))
	})
}

// laterOver tells whether another file has been reported as having taken the place.
func laterOver(all []string, thread, n int) bool {
	return slices.ContainsFunc(all, func(line string) bool {
		return strings.HasPrefix(line, fmt.Sprintf("O %d %d ", thread, n+5))
	})
}

func loadByte(nr, thread, n int, i int64) byte {
	return byte(int64(nr*89+thread*53+n*31+1) + i*7 + (i>>8)*3)
}

// compare looks at a file's content.
func (k *killer) compare(line string, f *seenInode, nr, thread, n, size int) {
	if f.size != int64(size) {
		k.t.Errorf("%q: it has %d bytes", line, f.size)
		return
	}
	for i := range int64(size) {
		if got, want := byteAt(f, i), loadByte(nr, thread, n, i); got != want {
			k.t.Errorf("%q: it has %#x at %d, want %#x", line, got, i, want)
			return
		}
	}
}

func byteAt(f *seenInode, off int64) byte {
	for _, c := range f.data {
		if c.off <= off && off < c.off+int64(len(c.p)) {
			return c.p[off-c.off]
		}
	}
	return 0
}
