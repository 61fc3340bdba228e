package ext4

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
	"pinhole/tests/harness"
)

// journalKinds are the forms that a journal can have, as options of mkfs.ext4.
var journalKinds = map[string][]string{
	"v3":             {"-b", "4096"},
	"v3, 1k":         {"-b", "1024"},
	"plain":          {"-b", "1024", "-O", "^metadata_csum,^64bit"},
	"64bit, no sums": {"-b", "4096", "-O", "^metadata_csum,64bit"},
	"32 bits, sums":  {"-b", "2048", "-O", "metadata_csum,^64bit"},
}

// TestHostReplay has the host's kernel replay journals of ours.
func TestHostReplay(t *testing.T) {
	for name, opts := range journalKinds {
		t.Run(name, func(t *testing.T) {
			img := mkfs(t, "64M", opts...)
			fs, dev := mount(t, img, true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour})
			root := fs.Root()
			g := newGenerator(root, 77)
			for range 5 {
				for range 60 {
					g.step(t)
				}
				g.close()
				if e := fs.Sync(); e != 0 {
					t.Fatal(e)
				}
			}
			want := tree(t, root)
			for range 30 {
				g.step(t) // lost
			}
			g.close()
			crashed := dev.Image()
			root.Unref()
			fs.Unmount()
			path := filepath.Join(t.TempDir(), "image")
			writeSparse(t, path, crashed)
			got := hostTree(t, loopMount(t, path, "rw"))
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("what the host reads (-synced +host):\n%s", d)
			}
		})
	}
}

// shutDown stops the host's file system at dir as a crash does.
func shutDown(t *testing.T, dir string) {
	t.Helper()
	const (
		ioctlShutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush    = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags := uint32(noLogFlush)
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), ioctlShutdown, uintptr(unsafe.Pointer(&flags))); e != 0 {
		t.Skipf("the host cannot shut a file system down: %v", e)
	}
}

// crashOnHost has the host's kernel work on an image, and returns it as a crash leaves it.
func crashOnHost(t *testing.T, opts ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	tool(t, "mkfs.ext4", append(append([]string{"-q", "-F"}, opts...), path, "64M")...)
	dir := loopMount(t, path, "rw")
	write := func(name string, n int) {
		t.Helper()
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write([]byte(strings.Repeat(name, n))); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 40 {
		sub := fmt.Sprint("dir", i%7)
		os.Mkdir(filepath.Join(dir, sub), 0o755)
		write(fmt.Sprintf("%s/file%d", sub, i), 1000*(i%9))
		os.Symlink(strings.Repeat("t", 10+i*3), filepath.Join(dir, fmt.Sprint("link", i)))
		if i%5 == 4 {
			os.RemoveAll(filepath.Join(dir, fmt.Sprint("dir", (i+3)%7)))
			write(fmt.Sprint("instead", i), 5000)
		}
	}
	syscall.Sync()
	for i := range 8 { // what fast commits can express
		write(fmt.Sprint("last", i), 100)
	}
	shutDown(t, dir)
	if err := harness.Unmount(dir); err != nil {
		t.Fatal(err)
	}
	img, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestReplayOfHost replays journals that the host's kernel has left, beside its own replay.
func TestReplayOfHost(t *testing.T) {
	for name, opts := range journalKinds {
		t.Run(name, func(t *testing.T) {
			img := crashOnHost(t, opts...)
			if le.Uint32(img[disk.SuperblockOffset+0x60:])&disk.IncompatRecover == 0 {
				t.Fatal("the host has left nothing to replay")
			}
			inMemory := treeOf(t, img)
			path := filepath.Join(t.TempDir(), "image")
			writeSparse(t, path, img)
			want := hostTree(t, loopMount(t, path, "rw"))
			if d := cmp.Diff(want, inMemory); d != "" {
				t.Errorf("replay in memory (-host's +ours):\n%s", d)
			}
			fs, dev := mount(t, img, true, Options{})
			root := fs.Root()
			if d := cmp.Diff(want, tree(t, root)); d != "" {
				t.Errorf("replay (-host's +ours):\n%s", d)
			}
			root.Unref()
			if e := fs.Unmount(); e != 0 {
				t.Error(e)
			}
			fsck(t, dev.Content())
		})
	}
}

// TestFastCommits mounts images with the feature fast_commit: they are used without, and what
// the host has left in fast commits is refused, as long as e2fsck has not brought it home.
func TestFastCommits(t *testing.T) {
	img := mkfs(t, "64M", "-O", "fast_commit")
	fs, dev := mount(t, img, true, Options{})
	root := fs.Root()
	g := newGenerator(root, 3)
	for range 200 {
		g.step(t)
	}
	g.close()
	fs.Sync()
	crashed := dev.Image()
	want := tree(t, root)
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	path := fsck(t, dev.Content())
	if d := cmp.Diff(want, treeOf(t, replayed(t, crashed))); d != "" {
		t.Errorf("e2fsck's replay (-synced +found):\n%s", d)
	}
	if d := cmp.Diff(want, hostTree(t, loopMount(t, path, "rw"))); d != "" {
		t.Errorf("what the host reads (-ours +host):\n%s", d)
	}

	img = crashOnHost(t, "-O", "fast_commit")
	mended := replayed(t, img, "-f")
	_, err := Mount(faultdev.New(cloneSparse(img)), Options{})
	if err == nil {
		if d := cmp.Diff(treeOf(t, mended), treeOf(t, img)); d != "" {
			t.Fatalf("what fast commits have is lost (-e2fsck +ours):\n%s", d)
		}
		t.Skip("the host has left no fast commits")
	}
	if !strings.Contains(err.Error(), "fast commit") || !strings.Contains(err.Error(), "e2fsck") {
		t.Errorf("mount says %v", err)
	}
	fs, dev = mount(t, mended, true, Options{})
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
}

// TestAbort has the device take no more writes from some moment on. Whatever that interrupts,
// changes are refused from then on, and the image is as of some commit, and says that there was
// an error if it still could.
func TestAbort(t *testing.T) {
	base := journaled(t, "16M", 1024, 1024)
	for k := range 20 {
		img := cloneSparse(base)
		dev := faultdev.New(img)
		left, failSuper := 100+k*14, k%2 == 0
		var mu sync.Mutex
		dev.Fail = func(op faultdev.Op, off int64, n int) error {
			mu.Lock()
			defer mu.Unlock()
			if op == faultdev.Read || op == faultdev.Flush && k%3 != 0 {
				return nil
			}
			if left--; left < 0 && (failSuper || off != disk.SuperblockOffset) {
				return faultdev.ErrInjected
			}
			return nil
		}
		fs, err := Mount(faultdev.Mapped{Device: dev}, Options{FlushAfter: time.Hour, CommitEvery: time.Hour, Log: func(string, ...any) {}})
		if err != nil {
			t.Fatal(err)
		}
		root := fs.Root()
		g := newGenerator(root, uint64(k))
		var e abi.Errno
		for range 60 {
			for range 20 {
				g.step(nil)
			}
			if e = fs.Sync(); e != 0 {
				break
			}
		}
		if e != abi.EIO {
			t.Errorf("%d: sync says %v", k, e)
		}
		for tries := 0; !fs.ReadOnly() && tries < 3; tries++ {
			fs.commit(0) // it may have been content only that could not be written
			create(t, root, fmt.Sprint("more", tries), abi.S_IFREG|0o644).Unref()
			fs.Sync()
		}
		if _, e := root.Create("late", &vfs.NewNode{Mode: abi.S_IFREG | 0o644}); e != abi.EROFS {
			t.Errorf("%d: creating says %v", k, e)
		}
		if e := fs.Sync(); e != abi.EIO {
			t.Errorf("%d: sync says %v afterwards", k, e)
		}
		g.close()
		root.Unref()
		if e := fs.Unmount(); e != abi.EIO {
			t.Errorf("%d: unmount says %v", k, e)
		}
		crashed := cloneSparse(img)
		noted := disk.Superblock{}
		noted.Decode(crashed[disk.SuperblockOffset:])
		if said := noted.State&disk.StateError != 0; said == failSuper {
			t.Errorf("%d: the superblock says %v that there was an error", k, said)
		}
		again, d := mount(t, crashed, true, Options{Log: func(string, ...any) {}})
		if e := again.Unmount(); e != 0 {
			t.Errorf("%d: %v", k, e)
		}
		fsck(t, d.Content())
	}
}

// TestFullHost has the host's disk full for a while, at every moment in turn: nothing is lost
// but what fails, and nothing has to be mended.
func TestFullHost(t *testing.T) {
	base := journaled(t, "16M", 1024, 1024)
	for k := range 15 {
		img := cloneSparse(base)
		dev := faultdev.New(img)
		var mu sync.Mutex
		left := 60 + k*22
		dev.Fail = func(op faultdev.Op, off int64, n int) error {
			mu.Lock()
			defer mu.Unlock()
			if op == faultdev.Write {
				if left--; left < 0 && left > -5-k {
					return blockdev.ErrNoSpace
				}
			}
			return nil
		}
		fs, err := Mount(faultdev.Mapped{Device: dev}, Options{FlushAfter: time.Hour, CommitEvery: time.Hour, Log: func(string, ...any) {}})
		if err != nil {
			t.Fatal(err)
		}
		root := fs.Root()
		g := newGenerator(root, uint64(k))
		full := 0
		for range 40 {
			for range 20 {
				g.step(nil)
			}
			switch e := fs.Sync(); e {
			case 0:
			case abi.ENOSPC:
				full++
			default:
				t.Fatalf("%d: sync says %v", k, e)
			}
		}
		if full == 0 {
			t.Errorf("%d: the disk is never full", k)
		}
		g.close()
		var e abi.Errno
		for range 100 {
			if e = fs.Sync(); e == 0 {
				break
			}
		}
		want := tree(t, root)
		crashed := dev.Image()
		root.Unref()
		if e != 0 || fs.ReadOnly() {
			t.Errorf("%d: sync says %v, read-only is %v", k, e, fs.ReadOnly())
		}
		if e := fs.Unmount(); e != 0 {
			t.Errorf("%d: unmount says %v", k, e)
		}
		fsck(t, dev.Content())
		if d := cmp.Diff(want, treeOf(t, crashed)); d != "" {
			t.Errorf("%d (-synced +found):\n%s", k, d)
		}
	}
}

// slowFlush is a device whose flushes take a while, and are counted.
type slowFlush struct {
	blockdev.Device
	mu      sync.Mutex
	flushes int
}

func (d *slowFlush) Flush() error {
	d.mu.Lock()
	d.flushes++
	d.mu.Unlock()
	time.Sleep(2 * time.Millisecond)
	return d.Device.Flush()
}

// TestGroupCommit syncs many files at the same time: they share commits and flushes.
func TestGroupCommit(t *testing.T) {
	d := &slowFlush{Device: faultdev.Mapped{Device: faultdev.New(mkfs(t, "32M", "-b", "4096"))}}
	fs, err := Mount(d, Options{})
	if err != nil {
		t.Fatal(err)
	}
	root := fs.Root()
	const files, rounds = 16, 20
	run := func(step func(n vfs.Node, round int)) int {
		before := d.flushes
		var wg sync.WaitGroup
		for i := range files {
			n, e := root.Lookup(fmt.Sprint(i))
			if e == abi.ENOENT {
				n = create(t, root, fmt.Sprint(i), abi.S_IFREG|0o644)
			}
			wg.Go(func() {
				defer n.Unref()
				for round := range rounds {
					step(n, round)
				}
			})
		}
		wg.Wait()
		return d.flushes - before
	}
	src := func() *copySource { return &copySource{make([]byte, 4096)} }
	if got := run(func(n vfs.Node, round int) {
		n.Write(vfs.AtEnd, 4096, src())
		if e := n.Sync(false); e != 0 {
			t.Error(e)
		}
	}); got > files*rounds {
		t.Errorf("%d flushes for %d syncs after appending", got, files*rounds)
	}
	if got := run(func(n vfs.Node, round int) {
		n.Write(0, 4096, src())
		if e := n.Sync(true); e != 0 {
			t.Error(e)
		}
	}); got > files*rounds/2 {
		t.Errorf("%d flushes for %d syncs after overwriting", got, files*rounds)
	}
	// Nothing to be done is nothing done.
	before := d.flushes
	for range 10 {
		if e := fs.Sync(); e != 0 {
			t.Error(e)
		}
	}
	if d.flushes > before+2 {
		t.Errorf("%d flushes for nothing", d.flushes-before)
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Error(e)
	}
}
