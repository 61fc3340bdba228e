package memfs

import "pinhole/abi"

// Flags of chattr(1) that are kept, as tmpfs keeps them (FS_*_FL of Linux).
const (
	flagImmutable = 0x10
	flagAppend    = 0x20
	flagNoDump    = 0x40
	flagNoAtime   = 0x80

	userFlags      = flagImmutable | flagAppend | flagNoDump | flagNoAtime
	inheritedFlags = flagNoDump | flagNoAtime
)

// Flags implements vfs.FlagNode.
func (n *node) Flags() uint32 { return n.flags.Load() }

// SetFlags implements vfs.FlagNode.
func (n *node) SetFlags(flags uint32) abi.Errno {
	if flags&^userFlags != 0 {
		return abi.EOPNOTSUPP
	}
	n.mu.Lock()
	n.flags.Store(flags)
	n.ctime = n.fs.Now()
	n.mu.Unlock()
	return 0
}
