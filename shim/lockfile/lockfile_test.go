package lockfile

import (
	"path/filepath"
	"sync/atomic"
	"testing"
)

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "new", "lock")
	unlock, err := Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	var held atomic.Bool
	held.Store(true)
	go func() {
		unlock, err := Lock(name)
		if err == nil {
			if held.Load() {
				t.Error("the lock was given twice")
			}
			unlock()
		}
		second <- err
	}()
	held.Store(false)
	unlock()
	if err := <-second; err != nil {
		t.Error(err)
	}
	if _, err := Lock(t.TempDir()); err == nil {
		t.Error("a folder was locked")
	}
}
