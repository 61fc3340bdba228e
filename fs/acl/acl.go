// Package acl is POSIX access control lists as data: how they look in an extended attribute
// (system.posix_acl_access and system.posix_acl_default, acl(5)) and on ext4's disk, which lists are
// valid, and what they and a file's permission bits make of each other.
//
// Sources: acl(5), POSIX.1e draft 17, and linux/posix_acl_xattr.h and fs/ext4/acl.h of Linux for the
// layouts.
package acl

import (
	"encoding/binary"

	"pinhole/abi"
)

// The names of the attributes.
const (
	Access  = "system.posix_acl_access"
	Default = "system.posix_acl_default"
)

// Tag says whom an entry is for.
type Tag uint16

// The tags, in the order that entries have in a list.
const (
	UserObj  Tag = 0x01 // the owner
	User     Tag = 0x02 // the user ID
	GroupObj Tag = 0x04 // the owning group
	Group    Tag = 0x08 // the group ID
	Mask     Tag = 0x10 // the most that User, GroupObj and Group can give
	Other    Tag = 0x20
)

// Entry is a line of a list. ID is only that of User and Group.
type Entry struct {
	Tag  Tag
	Perm uint16 // of 7
	ID   uint32
}

// List is a list of access rights, sorted by tag as Valid demands. None is an empty one.
type List []Entry

const (
	xattrVersion = 2
	diskVersion  = 1
	headerSize   = 4
	entrySize    = 8 // tag, perm, ID
	shortSize    = 4 // on disk, without ID
	undefinedID  = ^uint32(0)
)

var le = binary.LittleEndian

// named tells whether entries of a tag have an ID.
func (t Tag) named() bool { return t == User || t == Group }

// Parse decodes and checks the value of an attribute. A value without entries is no list. EINVAL,
// EOPNOTSUPP for another version.
func Parse(value []byte) (List, abi.Errno) {
	if len(value) == 0 {
		return nil, 0
	}
	if len(value) < headerSize {
		return nil, abi.EINVAL
	}
	if le.Uint32(value) != xattrVersion {
		return nil, abi.EOPNOTSUPP
	}
	value = value[headerSize:]
	if len(value)%entrySize != 0 {
		return nil, abi.EINVAL
	}
	l := make(List, 0, len(value)/entrySize)
	for ; len(value) > 0; value = value[entrySize:] {
		e := Entry{Tag: Tag(le.Uint16(value)), Perm: le.Uint16(value[2:])}
		if e.Tag.named() {
			e.ID = le.Uint32(value[4:])
		}
		l = append(l, e)
	}
	if !l.Valid() {
		return nil, abi.EINVAL
	}
	return l, 0
}

// Value is the inverse of Parse.
func (l List) Value() []byte {
	p := make([]byte, headerSize, headerSize+entrySize*len(l))
	le.PutUint32(p, xattrVersion)
	for _, e := range l {
		id := undefinedID
		if e.Tag.named() {
			id = e.ID
		}
		p = le.AppendUint16(p, uint16(e.Tag))
		p = le.AppendUint16(p, e.Perm)
		p = le.AppendUint32(p, id)
	}
	return p
}

// ParseDisk decodes and checks what ext4 stores; false if it is damaged.
func ParseDisk(p []byte) (List, bool) {
	if len(p) < headerSize || le.Uint32(p) != diskVersion {
		return nil, false
	}
	var l List
	for p = p[headerSize:]; len(p) > 0; {
		if len(p) < shortSize {
			return nil, false
		}
		e := Entry{Tag: Tag(le.Uint16(p)), Perm: le.Uint16(p[2:])}
		p = p[shortSize:]
		if e.Tag.named() {
			if len(p) < entrySize-shortSize {
				return nil, false
			}
			e.ID = le.Uint32(p)
			p = p[entrySize-shortSize:]
		}
		l = append(l, e)
	}
	return l, l.Valid()
}

// Disk is the inverse of ParseDisk.
func (l List) Disk() []byte {
	p := make([]byte, headerSize, headerSize+entrySize*len(l))
	le.PutUint32(p, diskVersion)
	for _, e := range l {
		p = le.AppendUint16(p, uint16(e.Tag))
		p = le.AppendUint16(p, e.Perm)
		if e.Tag.named() {
			p = le.AppendUint32(p, e.ID)
		}
	}
	return p
}

// Valid tells whether l is empty, or has one entry each for owner, owning group and others, and a
// mask if anybody else is named, in the order of the tags.
func (l List) Valid() bool {
	if len(l) == 0 {
		return true
	}
	var last Tag
	var seen Tag
	for _, e := range l {
		switch e.Tag {
		case UserObj, GroupObj, Mask, Other:
			if e.Tag <= last {
				return false
			}
		case User, Group:
			if e.Tag < last || e.ID == undefinedID {
				return false
			}
		default:
			return false
		}
		if e.Perm&^7 != 0 {
			return false
		}
		last = e.Tag
		seen |= e.Tag
	}
	const must = UserObj | GroupObj | Other
	return seen&must == must && (seen&(User|Group) == 0 || seen&Mask != 0)
}

// Mode returns mode with the permission bits that the list stands for; the mask stands for those of
// the group. minimal says that they are all that there is to the list.
func (l List) Mode(mode uint32) (m uint32, minimal bool) {
	m, minimal = mode&^0o777, true
	var group uint32
	for _, e := range l {
		switch e.Tag {
		case UserObj:
			m |= uint32(e.Perm) << 6
		case GroupObj:
			if minimal {
				group = uint32(e.Perm)
			}
		case Other:
			m |= uint32(e.Perm)
		case Mask:
			group, minimal = uint32(e.Perm), false
		default:
			minimal = false
		}
	}
	return m | group<<3, minimal
}

// SetMode changes the list in place as chmod(2) of its file does.
func (l List) SetMode(mode uint32) {
	l.eachClass(func(e *Entry, shift uint) { e.Perm = uint16(mode >> shift & 7) })
}

// Inherit makes l, a copy of the default list of a directory, the list of what is made there with the
// permissions mode asks for, and returns what becomes of mode.
func (l List) Inherit(mode uint32) uint32 {
	l.eachClass(func(e *Entry, shift uint) {
		e.Perm &= uint16(mode >> shift & 7)
		mode &^= uint32(^e.Perm&7) << shift
	})
	return mode
}

// eachClass calls f for the entries that are the same as permission bits: those of the owner, of
// others, and of the mask or else the owning group.
func (l List) eachClass(f func(e *Entry, shift uint)) {
	var group *Entry
	for i := range l {
		switch e := &l[i]; e.Tag {
		case UserObj:
			f(e, 6)
		case Other:
			f(e, 0)
		case Mask:
			group = e
		case GroupObj:
			if group == nil {
				group = e
			}
		}
	}
	if group != nil {
		f(group, 3)
	}
}
