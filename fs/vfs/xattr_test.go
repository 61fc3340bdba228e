package vfs_test

import (
	"slices"
	"testing"

	"pinhole/abi"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// TestXattrRules: who may see and change which attribute of what.
func TestXattrRules(t *testing.T) {
	ns := vfs.NewNamespace(memfs.New(1 << 20))
	root, owner, other := &vfs.Context{}, &vfs.Context{}, &vfs.Context{}
	owner.UID, owner.GID, other.UID, other.GID = 1000, 1000, 1001, 1001
	open := func(c *vfs.Context, path string, mode uint32) *vfs.Dentry {
		d, _, e := ns.Open(c, nil, path, abi.O_CREAT|abi.O_RDWR, mode)
		if e != 0 {
			t.Fatal(e)
		}
		return d
	}
	walk := func(path string) *vfs.Dentry {
		d, e := ns.Walk(root, nil, path, abi.AT_SYMLINK_NOFOLLOW)
		if e != 0 {
			t.Fatal(e)
		}
		return d
	}
	for _, e := range []abi.Errno{
		ns.SetAttr(root, nil, "/", 0, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777}),
		ns.Mkdir(owner, nil, "/dir", 0o777|abi.S_ISVTX), ns.Symlink(owner, "x", nil, "/link"), ns.Mknod(owner, nil, "/fifo", abi.S_IFIFO|0o666, 0),
		ns.SetAttr(owner, nil, "/dir", 0, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o777 | abi.S_ISVTX}),
	} {
		if e != 0 {
			t.Fatal(e)
		}
	}
	file, private := open(owner, "/file", 0o644), open(owner, "/private", 0o600)
	acl := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255}
	for _, c := range []struct {
		what  string
		who   *vfs.Context
		d     *vfs.Dentry
		name  string
		value string
		want  abi.Errno
	}{
		{"owner", owner, file, "user.a", "1", 0},
		{"a reader", other, file, "user.a", "1", abi.EACCES},
		{"user 0", root, private, "user.a", "1", 0},
		{"a sticky directory's owner", owner, walk("/dir"), "user.a", "1", 0},
		{"a sticky directory's user", other, walk("/dir"), "user.b", "1", abi.EPERM},
		{"a link", root, walk("/link"), "user.a", "1", abi.EPERM},
		{"a pipe", root, walk("/fifo"), "user.a", "1", abi.EPERM},
		{"trusted by owner", owner, file, "trusted.a", "1", abi.EPERM},
		{"trusted by user 0", root, file, "trusted.a", "1", 0},
		{"trusted on a link", root, walk("/link"), "trusted.a", "1", 0},
		{"security by owner", owner, file, "security.a", "1", abi.EPERM},
		{"security by user 0", root, file, "security.a", "1", 0},
		{"unknown class", root, file, "other.a", "1", abi.EOPNOTSUPP},
		{"no list", owner, file, "system.posix_acl_access", "1", abi.EINVAL},
		{"half an entry", owner, file, "system.posix_acl_access", "\x02\x00\x00\x00\x01", abi.EINVAL},
		{"another version", owner, file, "system.posix_acl_access", "\x01\x00\x00\x00", abi.EOPNOTSUPP},
		{"another's list", other, file, "system.posix_acl_access", string(acl), abi.EPERM},
		{"default of a file", owner, file, "system.posix_acl_default", string(acl), abi.EACCES},
		{"list of a link", owner, walk("/link"), "system.posix_acl_access", string(acl), abi.EOPNOTSUPP},
	} {
		if e := c.d.Setxattr(c.who, c.name, []byte(c.value), 0); e != c.want {
			t.Errorf("%s sets %s: %v, want %v", c.what, c.name, e, c.want)
		}
	}
	for _, c := range []struct {
		who  *vfs.Context
		d    *vfs.Dentry
		name string
		want abi.Errno
	}{
		{other, file, "user.a", 0}, {other, private, "user.a", abi.EACCES}, {other, file, "user.none", abi.ENODATA},
		{owner, file, "trusted.a", abi.ENODATA}, {root, file, "trusted.a", 0}, {other, file, "security.a", 0},
		{root, walk("/link"), "user.a", abi.ENODATA},
	} {
		if _, e := c.d.Getxattr(c.who, c.name); e != c.want {
			t.Errorf("user %d gets %s: %v, want %v", c.who.UID, c.name, e, c.want)
		}
	}
	for who, want := range map[*vfs.Context][]string{root: {"security.a", "trusted.a", "user.a"}, other: {"security.a", "user.a"}} {
		names, e := file.Listxattr(who)
		slices.Sort(names)
		if e != 0 || !slices.Equal(names, want) {
			t.Errorf("user %d is shown %q (%v), want %q", who.UID, names, e, want)
		}
	}
	if e := file.Removexattr(owner, "trusted.a"); e != abi.EPERM {
		t.Errorf("owner removes trusted.a: %v", e)
	}
	if e := file.Removexattr(owner, "user.a"); e != 0 {
		t.Errorf("owner removes user.a: %v", e)
	}
}
