package ext4

import (
	"errors"
	"fmt"

	"pinhole/abi"
	"pinhole/blockdev"
)

// CorruptError says that the image contradicts the format, and where. To the guest it is
// EUCLEAN. Finding one makes a file system read-only.
type CorruptError struct {
	What  string
	Ino   uint32 // 0: not in an inode
	Block uint64 // on the device; 0: not in a certain block
	Group int64  // -1: not in a certain group
}

func (e *CorruptError) Error() string {
	s := "corrupt ext4: "
	if e.Group >= 0 {
		s += fmt.Sprintf("group %d: ", e.Group)
	}
	if e.Ino != 0 {
		s += fmt.Sprintf("inode %d: ", e.Ino)
	}
	if e.Block != 0 {
		s += fmt.Sprintf("block %d: ", e.Block)
	}
	return s + e.What
}

// FeatureError says that the image uses features that this driver cannot handle.
type FeatureError struct {
	Names string // as mke2fs -O has them, separated by commas
}

func (e *FeatureError) Error() string {
	return "ext4 features not supported: " + e.Names + " (make the image without them: mkfs.ext4 -O ^FEATURE)"
}

func (fs *FS) corruptInode(ino uint32, format string, args ...any) error {
	return fs.corrupt(&CorruptError{What: fmt.Sprintf(format, args...), Ino: ino, Group: -1})
}

func (fs *FS) corruptBlock(ino uint32, block uint64, format string, args ...any) error {
	return fs.corrupt(&CorruptError{What: fmt.Sprintf(format, args...), Ino: ino, Block: block, Group: -1})
}

func (fs *FS) corruptGroup(g uint32, format string, args ...any) error {
	return fs.corrupt(&CorruptError{What: fmt.Sprintf(format, args...), Group: int64(g)})
}

// errno turns an error of this package into what the guest sees.
func errno(err error) abi.Errno {
	if err == nil {
		return 0
	}
	var e abi.Errno
	var c *CorruptError
	switch {
	case errors.As(err, &c):
		return abi.EUCLEAN
	case errors.As(err, &e):
		return e
	case errors.Is(err, blockdev.ErrNoSpace):
		return abi.ENOSPC
	}
	return abi.EIO
}
