package fs

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4"
	"pinhole/fs/vfs/vfstest"
)

// TestLostOnce: a write behind that fails is told to every file that was open, by the first fsync of
// each and by no other; files that are opened afterwards, and other files, hear nothing.
func TestLostOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want abi.Errno
	}{{"broken", faultdev.ErrInjected, abi.EIO}, {"full", blockdev.ErrNoSpace, abi.ENOSPC}} {
		t.Run(c.name, func(t *testing.T) {
			dev := faultdev.New(stock4k.image(t))
			// Fails writes of content, which is told from metadata by what it is.
			content := bytes.Repeat([]byte("content!"), 512)
			var failing atomic.Bool
			failed := errors.New("unset")
			fs, err := ext4.Mount(picky{Device: dev, fails: func(p []byte) error {
				if failing.Load() && bytes.HasPrefix(p, content[:8]) {
					return failed
				}
				return nil
			}}, ext4.Options{FlushAfter: time.Hour, CommitEvery: time.Hour, CacheBytes: 8 << 20, Log: t.Logf})
			if err != nil {
				t.Fatal(err)
			}
			failed = c.err
			inst := vfstest.NewMounted(fs, nil, nil)
			s, err := inst.Start()
			if err != nil {
				t.Fatal(err)
			}
			open := func(path string) vfstest.File {
				t.Helper()
				f, e := s.Open(path, abi.O_RDWR|abi.O_CREAT, 0o644)
				if e != 0 {
					t.Fatalf("open %s: %s", path, e.String())
				}
				return f
			}
			synced := func(who string, f vfstest.File, want abi.Errno) {
				t.Helper()
				if e := f.Sync(); e != want {
					t.Errorf("fsync of %s: %s, want %s", who, e.String(), want.String())
				}
			}
			one, two, other := open("f"), open("f"), open("g")
			for _, f := range []vfstest.File{one, other} {
				if _, e := f.Pwrite([]byte("before"), 0); e != 0 {
					t.Fatalf("write: %s", e.String())
				}
				synced("a file before", f, 0)
			}
			synced("a file before", two, 0)
			if _, e := one.Pwrite(content, 0); e != 0 {
				t.Fatalf("write: %s", e.String())
			}
			failing.Store(true)
			synced("the file that was written", one, c.want)
			failing.Store(false)
			late := open("f")
			synced("a file that was opened afterwards", late, 0)
			synced("the file that has told of it", one, 0)
			synced("another open file", two, c.want)
			synced("another open file, again", two, 0)
			synced("another file", other, 0)
			got := make([]byte, len(content))
			if n, e := late.Pread(got, 0); e != 0 || !bytes.Equal(got[:n], content) {
				t.Errorf("the content is lost in memory: %d bytes, %s", n, e.String())
			}
			for _, f := range []vfstest.File{one, two, other, late} {
				f.Close()
			}
			s.Close()
			if err := inst.Close(); err != nil {
				t.Fatal(err)
			}
			if err := fsck(t, dev.Content()); err != nil {
				t.Error(err)
			}
		})
	}
}

// picky is a device that looks at what it is to write.
type picky struct {
	*faultdev.Device
	fails func(p []byte) error
}

// WriteV implements blockdev.Device.
func (d picky) WriteV(v []blockdev.Vec) error {
	for _, w := range v {
		if err := d.fails(w.Data); err != nil {
			return err
		}
	}
	return d.Device.WriteV(v)
}
