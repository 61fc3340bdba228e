package image

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// target is a file that gets its name only when it is complete, so that whatever ends the command before
// leaves nothing behind, and the file that it replaces as it was.
type target struct {
	path  string
	force bool
	f     *os.File
	temp  string   // name until then; "": none
	old   *os.File // what is replaced, locked until the end
	keep  bool     // old is the caller's
}

// newTarget makes a file that will be called path; with force it may replace another.
func newTarget(path string, force bool) (*target, error) {
	st, err := os.Stat(path)
	if err != nil {
		return openTarget(&target{path: path, force: force})
	}
	switch {
	case st.IsDir():
		return nil, fmt.Errorf("image %s: is a directory; give the name of a file", path)
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("image %s: is there, and not a regular file", path)
	case !force:
		return nil, fmt.Errorf("image %s: is there already; use another name, or --force to replace it", path)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	// Not under a running sandbox.
	old, err := openLocked(path, true)
	if err != nil {
		return nil, err
	}
	t, err := openTarget(&target{path: path, force: true, old: old})
	if err != nil {
		old.Close()
	}
	return t, err
}

// replacement makes a file that will take the place of an image that the caller has opened and locked, with
// its owner and mode.
func replacement(old *os.File) (*target, error) {
	path, err := filepath.EvalSymlinks(old.Name())
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	t, err := openTarget(&target{path: path, force: true, old: old, keep: true})
	if err != nil {
		return nil, err
	}
	if err := sameOwner(t.f, old); err != nil {
		t.abandon()
		return nil, fmt.Errorf("image %s: %w", path, err)
	}
	return t, nil
}

// sameOwner gives a new file owner and mode of another. That the owner cannot be given away is no error.
func sameOwner(f, as *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(as.Fd()), &st); err != nil {
		return err
	}
	if err := unix.Fchown(int(f.Fd()), int(st.Uid), int(st.Gid)); err != nil && err != unix.EPERM {
		return err
	}
	return unix.Fchmod(int(f.Fd()), st.Mode&0o777)
}

func openTarget(t *target) (*target, error) {
	dir := filepath.Dir(t.path)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o666)
	switch {
	case err == nil:
		t.f = os.NewFile(uintptr(fd), t.path)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL):
		t.temp = t.newName()
		t.f, err = os.OpenFile(t.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: cannot be made in %s: %w", t.path, dir, err)
	}
	return t, nil
}

func (t *target) newName() string {
	var b [6]byte
	rand.Read(b[:])
	return filepath.Join(filepath.Dir(t.path), "."+filepath.Base(t.path)+"."+hex.EncodeToString(b[:]))
}

// abandon ends it; what is not committed is gone.
func (t *target) abandon() {
	t.f.Close()
	if t.temp != "" {
		os.Remove(t.temp)
		t.temp = ""
	}
	if t.old != nil && !t.keep {
		t.old.Close()
	}
}

// commit gives the file its name, for good.
func (t *target) commit() error {
	err := t.f.Sync()
	if err == nil && t.temp == "" {
		self := "/proc/self/fd/" + strconv.Itoa(int(t.f.Fd()))
		name := t.path
		if t.force {
			t.temp = t.newName()
			name = t.temp
		}
		err = unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	}
	if err == nil && t.temp != "" {
		if t.force {
			err = os.Rename(t.temp, t.path)
		} else if err = unix.Linkat(unix.AT_FDCWD, t.temp, unix.AT_FDCWD, t.path, 0); err == nil {
			err = os.Remove(t.temp)
		}
		if err == nil {
			t.temp = ""
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(t.path))
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", t.path, err)
	}
	return nil
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
