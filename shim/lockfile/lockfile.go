// Package lockfile keeps processes that build into the same folder out of each other's way.
package lockfile

import (
	"os"
	"path/filepath"
	"syscall"
)

// Lock waits until nobody else holds the lock of that file name, which it makes together with its
// folder, and returns what gives it back. The end of the process gives it back, too.
func Lock(name string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	return func() { f.Close() }, nil
}
