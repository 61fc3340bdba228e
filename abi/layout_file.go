package abi

// Stat is the answer of stat(2): 144 bytes, of which the last 24 are unused.
type Stat struct {
	Dev     uint64
	Ino     uint64
	Nlink   uint64
	Mode    uint32
	UID     uint32
	GID     uint32
	Rdev    uint64
	Size    int64
	Blksize int64
	Blocks  int64 // of 512 bytes
	Atime   Timespec
	Mtime   Timespec
	Ctime   Timespec
}

// StatSize is the length of struct stat.
const StatSize = 144

// Encode writes s to b.
func (s *Stat) Encode(b []byte) {
	_ = b[StatSize-1]
	le.PutUint64(b, s.Dev)
	le.PutUint64(b[8:], s.Ino)
	le.PutUint64(b[16:], s.Nlink)
	le.PutUint32(b[24:], s.Mode)
	le.PutUint32(b[28:], s.UID)
	le.PutUint32(b[32:], s.GID)
	le.PutUint32(b[36:], 0)
	le.PutUint64(b[40:], s.Rdev)
	putI64(b[48:], s.Size)
	putI64(b[56:], s.Blksize)
	putI64(b[64:], s.Blocks)
	s.Atime.Encode(b[72:])
	s.Mtime.Encode(b[88:])
	s.Ctime.Encode(b[104:])
	clear(b[120:StatSize])
}

// Decode reads s from b.
func (s *Stat) Decode(b []byte) {
	_ = b[StatSize-1]
	s.Dev = le.Uint64(b)
	s.Ino = le.Uint64(b[8:])
	s.Nlink = le.Uint64(b[16:])
	s.Mode = le.Uint32(b[24:])
	s.UID = le.Uint32(b[28:])
	s.GID = le.Uint32(b[32:])
	s.Rdev = le.Uint64(b[40:])
	s.Size = getI64(b[48:])
	s.Blksize = getI64(b[56:])
	s.Blocks = getI64(b[64:])
	s.Atime.Decode(b[72:])
	s.Mtime.Decode(b[88:])
	s.Ctime.Decode(b[104:])
}

// Statx is the answer of statx(2).
type Statx struct {
	Mask           uint32 // STATX_* that are valid
	Blksize        uint32
	Attributes     uint64 // STATX_ATTR_*
	Nlink          uint32
	UID            uint32
	GID            uint32
	Mode           uint16
	Ino            uint64
	Size           uint64
	Blocks         uint64 // of 512 bytes
	AttributesMask uint64 // STATX_ATTR_* that the file system knows
	Atime          Timespec
	Btime          Timespec
	Ctime          Timespec
	Mtime          Timespec
	RdevMajor      uint32
	RdevMinor      uint32
	DevMajor       uint32
	DevMinor       uint32
	MountID        uint64
	DIOMemAlign    uint32
	DIOOffsetAlign uint32
}

// StatxSize is the length of struct statx.
const StatxSize = 256

// Encode writes s to b.
func (s *Statx) Encode(b []byte) {
	_ = b[StatxSize-1]
	le.PutUint32(b, s.Mask)
	le.PutUint32(b[4:], s.Blksize)
	le.PutUint64(b[8:], s.Attributes)
	le.PutUint32(b[16:], s.Nlink)
	le.PutUint32(b[20:], s.UID)
	le.PutUint32(b[24:], s.GID)
	le.PutUint16(b[28:], s.Mode)
	le.PutUint16(b[30:], 0)
	le.PutUint64(b[32:], s.Ino)
	le.PutUint64(b[40:], s.Size)
	le.PutUint64(b[48:], s.Blocks)
	le.PutUint64(b[56:], s.AttributesMask)
	putStatxTime(b[64:], s.Atime)
	putStatxTime(b[80:], s.Btime)
	putStatxTime(b[96:], s.Ctime)
	putStatxTime(b[112:], s.Mtime)
	le.PutUint32(b[128:], s.RdevMajor)
	le.PutUint32(b[132:], s.RdevMinor)
	le.PutUint32(b[136:], s.DevMajor)
	le.PutUint32(b[140:], s.DevMinor)
	le.PutUint64(b[144:], s.MountID)
	le.PutUint32(b[152:], s.DIOMemAlign)
	le.PutUint32(b[156:], s.DIOOffsetAlign)
	clear(b[160:StatxSize])
}

// Decode reads s from b.
func (s *Statx) Decode(b []byte) {
	_ = b[StatxSize-1]
	s.Mask = le.Uint32(b)
	s.Blksize = le.Uint32(b[4:])
	s.Attributes = le.Uint64(b[8:])
	s.Nlink = le.Uint32(b[16:])
	s.UID = le.Uint32(b[20:])
	s.GID = le.Uint32(b[24:])
	s.Mode = le.Uint16(b[28:])
	s.Ino = le.Uint64(b[32:])
	s.Size = le.Uint64(b[40:])
	s.Blocks = le.Uint64(b[48:])
	s.AttributesMask = le.Uint64(b[56:])
	s.Atime = statxTime(b[64:])
	s.Btime = statxTime(b[80:])
	s.Ctime = statxTime(b[96:])
	s.Mtime = statxTime(b[112:])
	s.RdevMajor = le.Uint32(b[128:])
	s.RdevMinor = le.Uint32(b[132:])
	s.DevMajor = le.Uint32(b[136:])
	s.DevMinor = le.Uint32(b[140:])
	s.MountID = le.Uint64(b[144:])
	s.DIOMemAlign = le.Uint32(b[152:])
	s.DIOOffsetAlign = le.Uint32(b[156:])
}

// struct statx_timestamp has 32-bit nanoseconds and four unused bytes.
func putStatxTime(b []byte, t Timespec) {
	putI64(b, t.Sec)
	le.PutUint32(b[8:], uint32(t.Nsec))
	le.PutUint32(b[12:], 0)
}

func statxTime(b []byte) Timespec {
	return Timespec{Sec: getI64(b), Nsec: int64(le.Uint32(b[8:]))}
}

// Statfs is the answer of statfs(2).
type Statfs struct {
	Type    int64 // XXX_MAGIC
	Bsize   int64
	Blocks  uint64 // of Bsize bytes, as the next two
	Bfree   uint64
	Bavail  uint64
	Files   uint64
	Ffree   uint64
	Fsid    uint64
	Namelen int64
	Frsize  int64
	Flags   int64 // ST_*
}

// StatfsSize is the length of struct statfs.
const StatfsSize = 120

// Encode writes s to b.
func (s *Statfs) Encode(b []byte) {
	_ = b[StatfsSize-1]
	putI64(b, s.Type)
	putI64(b[8:], s.Bsize)
	le.PutUint64(b[16:], s.Blocks)
	le.PutUint64(b[24:], s.Bfree)
	le.PutUint64(b[32:], s.Bavail)
	le.PutUint64(b[40:], s.Files)
	le.PutUint64(b[48:], s.Ffree)
	le.PutUint64(b[56:], s.Fsid)
	putI64(b[64:], s.Namelen)
	putI64(b[72:], s.Frsize)
	putI64(b[80:], s.Flags)
	clear(b[88:StatfsSize])
}

// Decode reads s from b.
func (s *Statfs) Decode(b []byte) {
	_ = b[StatfsSize-1]
	s.Type = getI64(b)
	s.Bsize = getI64(b[8:])
	s.Blocks = le.Uint64(b[16:])
	s.Bfree = le.Uint64(b[24:])
	s.Bavail = le.Uint64(b[32:])
	s.Files = le.Uint64(b[40:])
	s.Ffree = le.Uint64(b[48:])
	s.Fsid = le.Uint64(b[56:])
	s.Namelen = getI64(b[64:])
	s.Frsize = getI64(b[72:])
	s.Flags = getI64(b[80:])
}

// DirentHeader is the length of struct linux_dirent64 before the name (getdents64(2)).
const DirentHeader = 19

// DirentLen returns the length of the record of a name of n bytes: header, name, NUL, rounded
// up to 8.
func DirentLen(n int) int { return (DirentHeader + n + 1 + 7) &^ 7 }

// PutDirent writes a directory entry to b and returns its length, or 0 if b is too short for it.
// next is the position to seek to for the entry behind this one; typ is one of DT_*. The name
// is at most NAME_MAX bytes.
func PutDirent(b []byte, ino uint64, next int64, typ uint8, name string) int {
	n := DirentLen(len(name))
	if n > len(b) {
		return 0
	}
	le.PutUint64(b, ino)
	putI64(b[8:], next)
	le.PutUint16(b[16:], uint16(n))
	b[18] = typ
	clear(b[DirentHeader+copy(b[DirentHeader:], name) : n])
	return n
}

// Dirent is one decoded directory entry. Name points into the bytes it was decoded from.
type Dirent struct {
	Ino  uint64
	Next int64
	Type uint8
	Name []byte
}

// Decode reads the entry at the front of b and returns the entry's length, or 0 if there is none.
func (d *Dirent) Decode(b []byte) int {
	if len(b) < DirentHeader+1 {
		return 0
	}
	n := int(le.Uint16(b[16:]))
	if n < DirentHeader+1 || n > len(b) {
		return 0
	}
	d.Ino = le.Uint64(b)
	d.Next = getI64(b[8:])
	d.Type = b[18]
	d.Name = b[DirentHeader:n]
	for i, c := range d.Name {
		if c == 0 {
			d.Name = d.Name[:i]
			return n
		}
	}
	return 0
}

// Flock is a record lock (fcntl(2)).
type Flock struct {
	Type   int16 // F_RDLCK, F_WRLCK, F_UNLCK
	Whence int16 // SEEK_*
	Start  int64
	Len    int64 // 0: to the end of the file, however it grows
	PID    int32
}

// FlockSize is the length of struct flock.
const FlockSize = 32

// Encode writes f to b.
func (f *Flock) Encode(b []byte) {
	_ = b[FlockSize-1]
	le.PutUint16(b, uint16(f.Type))
	le.PutUint16(b[2:], uint16(f.Whence))
	le.PutUint32(b[4:], 0)
	putI64(b[8:], f.Start)
	putI64(b[16:], f.Len)
	putI32(b[24:], f.PID)
	le.PutUint32(b[28:], 0)
}

// Decode reads f from b.
func (f *Flock) Decode(b []byte) {
	_ = b[FlockSize-1]
	f.Type = int16(le.Uint16(b))
	f.Whence = int16(le.Uint16(b[2:]))
	f.Start = getI64(b[8:])
	f.Len = getI64(b[16:])
	f.PID = getI32(b[24:])
}

// Makedev packs a device number as Linux's 64-bit dev_t (makedev(3)).
func Makedev(major, minor uint32) uint64 {
	return uint64(minor&0xff) | uint64(major&0xfff)<<8 | uint64(minor&^0xff)<<12 | uint64(major&^0xfff)<<32
}

// Major returns a packed device number's major part.
func Major(dev uint64) uint32 { return uint32(dev>>8)&0xfff | uint32(dev>>32)&^0xfff }

// Minor returns a packed device number's minor part.
func Minor(dev uint64) uint32 { return uint32(dev)&0xff | uint32(dev>>12)&^0xff }
