package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/emu"
	"pinhole/fs/devfs"
	"pinhole/fs/ext4"
	"pinhole/fs/memfs"
	"pinhole/fs/procfs"
	"pinhole/fs/vfs"
	"pinhole/runtime/control"
)

// run is everything behind the lock. It does not return.
func (b *boot) run() {
	defer b.catch()
	if err := b.start(); err != nil {
		b.fail(err)
	}
	go b.follow()
	status := b.k.Wait()
	b.finish(control.Exited, status, nil)
}

// start mounts the image and loads the program.
func (b *boot) start() error {
	c := &b.conf
	ns, err := b.mount()
	if err != nil {
		return err
	}
	k := emu.Config{
		Machine:   b.m,
		Namespace: ns,
		Hostname:  c.Hostname,
		UID:       c.UID,
		GID:       c.GID,
		Terminal:  c.Terminal,
		Window:    b.window,
		Settings:  []byte(c.Settings),
		Configure: func(s []byte) { b.tell.send(control.Settings, 0, s) },
		Report:    func(text string) { b.tell.say(control.Report, []byte(text)) },
		Fatal:     b.fatal,
		Attended:  true, // by follow
	}
	if c.Trace {
		k.Trace = lines{b.tell, control.Trace}
	}
	b.size.Store(uint64(c.Rows)<<32 | uint64(uint32(c.Cols)))
	b.k = emu.New(k)
	if err := b.mountVirtual(ns); err != nil {
		return err
	}
	b.tell.send(control.Running, uint64(b.layers), nil)
	return b.k.Start(c.Program, c.Args, c.Env, c.Cwd)
}

// mount mounts the image.
func (b *boot) mount() (*vfs.Namespace, error) {
	c := &b.conf
	var err error
	b.fs, err = ext4.Mount(b.disk, ext4.Options{
		ReadOnly: c.ReadOnly,
		Arena:    blockdev.NewArena(b.ram[:c.CacheBytes-bounceBytes]),
		// Blocks that are freed must not be seen any more in what was mapped of their file.
		Revoke: func(ino uint64, off, n int64, why vfs.RevokeReason) {
			if b.k != nil { // not while the journal is replayed
				b.k.Revoke(ino, off, n, why)
			}
		},
		Log: func(format string, args ...any) {
			b.tell.say(control.Report, fmt.Appendf(nil, "pinhole: image %s: "+format+"\n", append([]any{c.Image}, args...)...))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", c.Image, err)
	}
	ns := vfs.NewNamespace(b.fs)
	ns.SetCacheLimit(int(min(max(c.CacheBytes/2/nameBytes, 1024), vfs.DefaultCacheLimit)))
	return ns, nil
}

// nameBytes is about what a name in memory takes with the inode that it holds there: names take no
// more of the memory than half of what the cache of content does.
const nameBytes = 1 << 10

// mountVirtual mounts what is the kernel's own, over what the image may have there.
func (b *boot) mountVirtual(ns *vfs.Namespace) error {
	sec, nsec := now()
	for _, m := range []struct {
		path string
		fs   vfs.FileSystem
	}{
		{"/dev", devfs.New()},
		{"/dev/shm", memfs.New(b.conf.Memory / 2)},
		{"/proc", procfs.New(b.k.ProcInfo(), vfs.Timespec{Sec: sec, Nsec: nsec})},
	} {
		if e := ns.Mount(m.path, m.fs); e != 0 {
			return fmt.Errorf("image %s: %s cannot be mounted: %w", b.conf.Image, m.path, e)
		}
	}
	return nil
}

func now() (sec int64, nsec int32) {
	t := time.Now()
	return t.Unix(), int32(t.Nanosecond())
}

// fail tells why the program was not started, and ends.
func (b *boot) fail(err error) {
	status := exitNotStarted
	switch {
	case errors.Is(err, emu.ErrNotExecutable): // also if what it needs is not found
		status = exitNotExecutable
	case errors.Is(err, emu.ErrNotFound):
		status = exitNotFound
	}
	b.finish(control.Failed, status, []byte(err.Error()))
}

// finish writes everything back, tells the outcome, and ends. Nothing changes the image any more.
func (b *boot) finish(k control.Kind, status int, text []byte) {
	if b.fs != nil && !b.conf.Ephemeral {
		if e := b.fs.Unmount(); e != 0 {
			b.tell.say(control.Report, fmt.Appendf(nil, "pinhole: image %s: not everything could be written back: %v\n", b.conf.Image, error(e)))
			if k == control.Exited && status == 0 {
				status = exitNotStarted
			}
		}
	}
	b.tell.send(k, uint64(status), text)
	os.Exit(0)
}

// fatal ends the sandbox after a bug of the kernel. The image is left as it is: what was synced is
// there, and the journal mends the rest.
func (b *boot) fatal(trace string) {
	b.tell.say(control.Bug, []byte("pinhole: bug in the kernel: "+trace+"\n"))
	os.Exit(exitBug)
}

// catch turns a panic of the calling goroutine into a report.
func (b *boot) catch() {
	if p := recover(); p != nil {
		buf := make([]byte, 64<<10)
		b.fatal(fmt.Sprintf("%v\n%s", p, buf[:runtime.Stack(buf, false)]))
	}
}

// follow takes what the supervisor says until it ends, and the sandbox with it.
func (b *boot) follow() {
	defer b.catch()
	frames := control.NewReader(listener{b.m})
	for {
		f, err := frames.Next()
		if err != nil {
			os.Exit(exitNotStarted)
		}
		switch f.Kind {
		case control.Signal:
			b.k.Signal(int(f.Value))
		case control.Window:
			b.size.Store(f.Value)
			b.k.Signal(int(abi.SIGWINCH))
		}
	}
}

// window returns the terminal's size.
func (b *boot) window() (rows, cols uint16) {
	v := b.size.Load()
	return uint16(v >> 32), uint16(v)
}
