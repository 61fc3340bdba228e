package vfstest

import (
	"fmt"

	"pinhole/abi"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// NewMounted returns an instance over a mounted file system. remount unmounts it, with none of its
// nodes in use, and mounts it again; end, if not nil, is called after the last unmount.
func NewMounted(fs vfs.FileSystem, remount func(vfs.FileSystem) (vfs.FileSystem, error), end func() error) Instance {
	return &mounted{fs: fs, remount: remount, end: end}
}

// WithMaps lets the files of an instance that NewMounted made be mapped.
func WithMaps(i Instance, maps *Maps) Instance {
	i.(*mounted).maps = maps
	return i
}

// NewModel returns instances of memfs, with the clock now if it is not nil.
func NewModel(now func() vfs.Timespec) func() (Instance, error) {
	return func() (Instance, error) {
		fs := memfs.New(4 << 30)
		if now != nil {
			fs.Now = now
		}
		return &mounted{fs: fs}, nil
	}
}

type mounted struct {
	fs      vfs.FileSystem
	maps    *Maps
	ns      *vfs.Namespace
	remount func(vfs.FileSystem) (vfs.FileSystem, error)
	end     func() error
}

// JailDir is the directory that sequences run in, out of the way of lost+found.
const JailDir = "jail"

// Start implements Instance.
func (m *mounted) Start() (System, error) {
	if m.ns == nil {
		m.ns = vfs.NewNamespace(m.fs)
	}
	s := NewSystem(m.ns)
	s.(*nsSystem).maps = m.maps
	if e := s.Mkdir(JailDir, 0o755); e != 0 && e != abi.EEXIST && e != abi.EROFS {
		return nil, fmt.Errorf("mkdir: %s", e.String())
	}
	if e := s.Jail(JailDir); e != 0 {
		return nil, fmt.Errorf("chroot: %s", e.String())
	}
	return s, nil
}

// Remount implements Instance.
func (m *mounted) Remount() error {
	if m.remount == nil {
		return nil
	}
	// Names and nodes of the old mount are forgotten with its namespace.
	m.ns.Forget()
	m.ns = nil
	fs, err := m.remount(m.fs)
	if err != nil {
		return err
	}
	m.fs = fs
	return nil
}

// DropCaches forgets names, and what the file system has clean in memory if it can.
func (m *mounted) DropCaches() {
	if d, ok := m.fs.(interface{ DropCaches() }); ok {
		d.DropCaches()
	}
}

// Close implements Instance.
func (m *mounted) Close() error {
	var e abi.Errno
	if m.ns != nil {
		e = m.ns.Close()
	} else {
		e = m.fs.Unmount()
	}
	if e != 0 {
		return fmt.Errorf("unmount: %s", e.String())
	}
	if m.end != nil {
		return m.end()
	}
	return nil
}
