// Package fs tests the file systems as a whole: random sequences of operations against memfs and
// against the host's ext4, and devices that fail or fill up at every place.
//
// The ordinary run takes samples. With PINHOLE_LONG=1 everything is done at length; PINHOLE_SEED
// sets the first seed.
package fs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4"
	"pinhole/fs/ext4/check"
	"pinhole/fs/ext4/mkfs"
	"pinhole/fs/vfs"
	"pinhole/fs/vfs/vfstest"
	"pinhole/tests/harness"
)

// long tells whether tests are to be done at length.
var long = os.Getenv("PINHOLE_LONG") != ""

// amount is n in the ordinary run, and in the long form as many as long says.
func amount(n, more int) int {
	switch {
	case long:
		return more
	case testing.Short():
		return max(n/4, 1)
	}
	return n
}

// firstSeed is where seeds start: the same in every ordinary run, so that it fails or does not for
// reasons in the tree.
func firstSeed() uint64 {
	if v, err := strconv.ParseUint(os.Getenv("PINHOLE_SEED"), 10, 64); err == nil {
		return v
	}
	if long {
		return uint64(time.Now().Unix())
	}
	return 1
}

// clock is a clock that moves with the steps of a test.
type clock struct{ steps atomic.Int64 }

// epoch is after every time that a step sets.
const epoch = 1_600_000_000

func (c *clock) tick() { c.steps.Add(1) }

func (c *clock) now() (int64, int32) {
	n := c.steps.Load()
	return epoch + n, int32(n * 7919 % 1_000_000_000)
}

func (c *clock) timespec() vfs.Timespec {
	sec, nsec := c.now()
	return vfs.Timespec{Sec: sec, Nsec: nsec}
}

// kind is a kind of image, and how it is mounted.
type kind struct {
	name  string
	size  string
	mkfs  []string // options of mkfs.ext4; nil: ours makes it
	block int64
	cache int // CacheBytes; 0: a lot
}

var (
	stock4k   = kind{name: "4k", size: "64M", mkfs: []string{"-b", "4096"}, block: 4096}
	stock1k   = kind{name: "1k", size: "64M", mkfs: []string{"-b", "1024"}, block: 1024}
	tinyCache = kind{name: "tinycache", size: "64M", mkfs: []string{"-b", "1024"}, block: 1024, cache: 1 << 20}
	noJournal = kind{name: "nojournal", size: "64M", mkfs: []string{"-b", "2048", "-O", "^has_journal"}, block: 2048}
	noCsum    = kind{name: "nocsum", size: "64M", mkfs: []string{"-b", "1024", "-O", "^metadata_csum,^64bit"}, block: 1024}
	own       = kind{name: "own", size: "64M", block: 4096}
	tiny1k    = kind{name: "tiny1k", size: "3M", mkfs: []string{"-b", "1024", "-N", "256", "-O", "^has_journal"}, block: 1024}
	tiny4k    = kind{name: "tiny4k", size: "12M", mkfs: []string{"-b", "4096", "-N", "400", "-J", "size=4"}, block: 4096}
)

var images sync.Map // of kind names to content

// image returns an image of the kind, the caller's to change.
func (k kind) image(t testing.TB) []byte {
	t.Helper()
	if b, ok := images.Load(k.name); ok {
		return clone(b.([]byte))
	}
	var b []byte
	if k.mkfs == nil {
		n, err := strconv.Atoi(strings.TrimSuffix(k.size, "M"))
		if err != nil {
			t.Fatal(err)
		}
		b = make([]byte, n<<20)
		if err := mkfs.Format(faultdev.New(b), mkfs.Options{BlockSize: int(k.block), Fresh: true}); err != nil {
			t.Fatal(err)
		}
	} else {
		path := filepath.Join(t.TempDir(), "image")
		args := append([]string{"-q", "-F", "-E", "nodiscard"}, k.mkfs...)
		harness.Must(t, harness.Tool(t, "mkfs.ext4", "e2fsprogs"), append(args, path, k.size)...)
		var err error
		if b, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	images.Store(k.name, b)
	return clone(b)
}

// eachPage calls f for the parts of img that are not zero.
func eachPage(img []byte, f func(off int, p []byte)) {
	zero := make([]byte, 4096)
	for off := 0; off < len(img); off += 4096 {
		p := img[off:min(off+4096, len(img))]
		if string(p) != string(zero[:len(p)]) {
			f(off, p)
		}
	}
}

// clone copies an image without touching the memory of its zeros.
func clone(img []byte) []byte {
	out := make([]byte, len(img))
	eachPage(img, func(off int, p []byte) { copy(out[off:], p) })
	return out
}

// save writes an image to a file, with holes for zeros.
func save(path string, img []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(len(img))); err != nil {
		return err
	}
	eachPage(img, func(off int, p []byte) {
		if _, e := f.WriteAt(p, int64(off)); e != nil && err == nil {
			err = e
		}
	})
	return err
}

// fsck fails unless e2fsck has nothing to say about an image.
func fsck(t testing.TB, img []byte) error {
	dir, err := os.MkdirTemp(t.TempDir(), "fsck")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "image")
	if err := save(path, img); err != nil {
		return err
	}
	return fsckFile(t, path, false)
}

// fsckFile is fsck of a file. optimize: trees may be larger than they need to be, as those of files
// that were being written when the device failed.
func fsckFile(t testing.TB, path string, optimize bool) error {
	out, err := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-fn", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("e2fsck -fn: %v\n%s", err, out)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if line != "" && !strings.HasPrefix(line, "e2fsck ") && !strings.HasPrefix(line, "Pass ") && !strings.Contains(line, " files (") &&
			!(optimize && strings.Contains(line, "Optimize? no")) {
			return fmt.Errorf("e2fsck -fn is not silent:\n%s", out)
		}
	}
	return nil
}

// subject makes instances of a kind. What they leave is looked at by e2fsck, and read by the host.
func (k kind) subject(t testing.TB, c *clock) func() (vfstest.Instance, error) {
	return func() (vfstest.Instance, error) {
		dev := faultdev.New(k.image(t))
		cache := k.cache
		if cache == 0 {
			cache = 24 << 20
		}
		maps := &vfstest.Maps{RAM: make([]byte, cache), Device: faultdev.Mapped{Device: dev}}
		mount := func() (*ext4.FS, error) {
			o := ext4.Options{Arena: blockdev.NewArena(maps.RAM), CacheBytes: cache, Revoke: maps.Revoke, Log: func(format string, args ...any) {
				if strings.HasPrefix(format, "reserve of inode") {
					t.Errorf(format, args...)
				}
				if !strings.HasPrefix(format, "orphans:") && !strings.HasPrefix(format, "journal replayed") {
					t.Logf(format, args...)
				}
			}}
			if c != nil {
				o.Clock = c.now
			}
			if k.cache != 0 {
				o.FlushAfter = time.Millisecond
			}
			return ext4.Mount(faultdev.Mapped{Device: dev}, o)
		}
		check := func() error {
			r, err := check.Run(dev, check.Options{})
			if err != nil {
				return fmt.Errorf("check: %w", err)
			}
			if err := r.Err(); err != nil {
				return fmt.Errorf("check: %w", err)
			}
			return fsck(t, dev.Content())
		}
		fs, err := mount()
		if err != nil {
			return nil, err
		}
		remount := func(old vfs.FileSystem) (vfs.FileSystem, error) {
			if e := old.Unmount(); e != 0 {
				return nil, fmt.Errorf("unmount: %s", e.String())
			}
			if err := check(); err != nil {
				return nil, err
			}
			return mount()
		}
		return vfstest.WithMaps(vfstest.NewMounted(fs, remount, func() error {
			if err := check(); err != nil {
				return err
			}
			return hostReads(t, dev.Content())
		}), maps), nil
	}
}
