package vfs

import (
	"strings"

	"pinhole/abi"
)

// Extended attributes under the rules of xattr(7) and capabilities(7), where UID 0 stands for
// CAP_SYS_ADMIN, CAP_SETFCAP and CAP_FOWNER. Access control lists (system.posix_acl_access and
// system.posix_acl_default) are data that only their owner changes, in the format of getxattr(2): they are
// kept, and they do not decide about any access here.

// Namespaces of attributes.
const (
	userPrefix     = "user."
	trustedPrefix  = "trusted."
	securityPrefix = "security."
	systemPrefix   = "system."
)

// xattrs returns the node as one with attributes. EOPNOTSUPP: its file system has none.
func (d *Dentry) xattrs() (XattrNode, abi.Errno) {
	if x, ok := d.node.(XattrNode); ok {
		return x, 0
	}
	return nil, abi.EOPNOTSUPP
}

// Getxattr returns an attribute's value. ENODATA: there is none of that name, or none that c may know of.
func (d *Dentry) Getxattr(c *Context, name string) ([]byte, abi.Errno) {
	switch {
	case strings.HasPrefix(name, trustedPrefix):
		if c.UID != 0 {
			return nil, abi.ENODATA
		}
	case strings.HasPrefix(name, userPrefix):
		if d.typ != abi.S_IFREG && d.typ != abi.S_IFDIR {
			return nil, abi.ENODATA
		}
		if e := c.permit(d, abi.R_OK); e != 0 {
			return nil, e
		}
	case strings.HasPrefix(name, securityPrefix), strings.HasPrefix(name, systemPrefix):
	default:
		if e := c.permit(d, abi.R_OK); e != 0 {
			return nil, e
		}
	}
	x, e := d.xattrs()
	if e != 0 {
		return nil, e
	}
	return x.Getxattr(name)
}

// Listxattr returns the names of the attributes that c may know of.
func (d *Dentry) Listxattr(c *Context) ([]string, abi.Errno) {
	x, e := d.xattrs()
	if e != 0 {
		return nil, 0 // as Linux has it
	}
	names, e := x.Listxattr()
	if e != 0 || c.UID == 0 {
		return names, e
	}
	kept := names[:0]
	for _, name := range names {
		if !strings.HasPrefix(name, trustedPrefix) {
			kept = append(kept, name)
		}
	}
	return kept, 0
}

// Setxattr sets an attribute; flags are XATTR_CREATE and XATTR_REPLACE.
func (d *Dentry) Setxattr(c *Context, name string, value []byte, flags uint32) abi.Errno {
	if e := d.mayChangeXattr(c, name); e != 0 {
		return e
	}
	x, e := d.xattrs()
	if e != 0 {
		return e
	}
	if isACL(name) {
		if e := checkACL(value); e != 0 {
			return e
		}
		if name == aclDefault && d.typ != abi.S_IFDIR {
			return abi.EACCES
		}
	}
	return x.Setxattr(name, value, flags)
}

// Removexattr removes an attribute.
func (d *Dentry) Removexattr(c *Context, name string) abi.Errno {
	if e := d.mayChangeXattr(c, name); e != 0 {
		return e
	}
	x, e := d.xattrs()
	if e != 0 {
		return e
	}
	return x.Removexattr(name)
}

func (d *Dentry) mayChangeXattr(c *Context, name string) abi.Errno {
	if d.readOnly() {
		return abi.EROFS
	}
	if frozen(d.node) {
		return abi.EPERM
	}
	switch {
	case strings.HasPrefix(name, trustedPrefix), strings.HasPrefix(name, securityPrefix):
		if c.UID != 0 {
			return abi.EPERM
		}
		return 0
	case isACL(name):
		if d.typ == abi.S_IFLNK {
			return abi.EOPNOTSUPP
		}
		return d.owned(c)
	case strings.HasPrefix(name, systemPrefix):
		return 0
	case strings.HasPrefix(name, userPrefix):
		if d.typ != abi.S_IFREG && d.typ != abi.S_IFDIR {
			return abi.EPERM
		}
		if d.typ == abi.S_IFDIR && d.node.Mode()&abi.S_ISVTX != 0 {
			if e := d.owned(c); e != 0 {
				return e
			}
		}
	}
	return c.permit(d, abi.W_OK)
}

// owned fails with EPERM unless c owns the file or is UID 0.
func (d *Dentry) owned(c *Context) abi.Errno {
	if c.UID == 0 {
		return 0
	}
	var a Attr
	if e := d.node.Attr(&a); e != 0 {
		return e
	}
	if a.UID != c.UID {
		return abi.EPERM
	}
	return 0
}

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

func isACL(name string) bool { return name == aclAccess || name == aclDefault }

// checkACL checks the form of an access control list as it is given to setxattr(2): a version, 2, in
// 4 bytes, then entries of tag, permissions and id in 2, 2 and 4 bytes, little-endian (Linux's
// posix_acl_xattr.h). EINVAL, EOPNOTSUPP for another version.
func checkACL(value []byte) abi.Errno {
	const header, entry = 4, 8
	switch {
	case len(value) < header:
		return abi.EINVAL
	case value[0] != 2 || value[1]|value[2]|value[3] != 0:
		return abi.EOPNOTSUPP
	case (len(value)-header)%entry != 0:
		return abi.EINVAL
	}
	for e := value[header:]; len(e) > 0; e = e[entry:] {
		switch tag := uint16(e[0]) | uint16(e[1])<<8; tag {
		case 0x01, 0x02, 0x04, 0x08, 0x10, 0x20: // owner, user, group, named group, mask, others
		default:
			return abi.EINVAL
		}
		if e[2]&^7 != 0 || e[3] != 0 {
			return abi.EINVAL
		}
	}
	return 0
}
