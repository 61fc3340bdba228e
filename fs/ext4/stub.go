package ext4

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

type flusher struct{}

func (f *flusher) init(*FS)                                               {}
func (f *flusher) stop()                                                  {}
func (f *flusher) dirtied(bool)                                           {}
func (fs *FS) Sync() abi.Errno                                            { return 0 }
func (fs *FS) Unmount() abi.Errno                                         { return 0 }
func (fs *FS) deleteInode(n *inode)                                       {}
func (fs *FS) processOrphans() error                                      { return nil }
func (n *inode) SetAttr(*vfs.SetAttr) abi.Errno                           { return abi.EROFS }
func (n *inode) Create(name string, _ *vfs.NewNode) (vfs.Node, abi.Errno) { return nil, abi.EROFS }
func (n *inode) Symlink(name, target string, _ *vfs.NewNode) (vfs.Node, abi.Errno) {
	return nil, abi.EROFS
}
func (n *inode) Link(name string, target vfs.Node) abi.Errno { return abi.EROFS }
func (n *inode) Unlink(name string) abi.Errno                { return abi.EROFS }
func (n *inode) Rmdir(name string) abi.Errno                 { return abi.EROFS }
func (n *inode) Rename(name string, newDir vfs.Node, newName string, flags uint32) abi.Errno {
	return abi.EROFS
}
func (n *inode) Write(off int64, count int, s vfs.Source) (int, int64, abi.Errno) {
	return 0, 0, abi.EROFS
}
func (n *inode) Sync(dataOnly bool) abi.Errno                               { return 0 }
func (n *inode) Allocate(mode uint32, off, count int64) abi.Errno           { return abi.EROFS }
func (n *inode) SeekData(off int64) (int64, abi.Errno)                      { return 0, abi.ENXIO }
func (n *inode) SeekHole(off int64) (int64, abi.Errno)                      { return 0, abi.ENXIO }
func (n *inode) Getxattr(name string) ([]byte, abi.Errno)                   { return nil, abi.ENODATA }
func (n *inode) Setxattr(name string, value []byte, flags uint32) abi.Errno { return abi.EROFS }
func (n *inode) Listxattr() ([]string, abi.Errno)                           { return nil, 0 }
func (n *inode) Removexattr(name string) abi.Errno                          { return abi.EROFS }
func (n *inode) MapExtents(off, count int64) ([]vfs.Extent, abi.Errno)      { return nil, abi.ENOSYS }
