package vfs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// expect compares errnos.
func expect(t testing.TB, what string, got, want abi.Errno) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %s, want %s", what, got.String(), want.String())
	}
}

func list(t testing.TB, ns *vfs.Namespace, c *vfs.Context, path string, step int) []string {
	t.Helper()
	d, e := ns.Walk(c, nil, path, 0)
	mustOK(t, e)
	defer d.Unref()
	var names []string
	for cookie := int64(0); ; {
		n := 0
		mustOK(t, ns.ReadDir(d, cookie, func(entry *vfs.DirEntry) bool {
			if n == step {
				return false
			}
			n++
			cookie = entry.Cookie
			names = append(names, strings.Clone(entry.Name))
			return true
		}))
		if n == 0 {
			break
		}
	}
	slices.Sort(names)
	return names
}

func TestMount(t *testing.T) {
	ns, c := newTree(t)
	tmp, dev, shm := memfs.New(1<<20), memfs.New(1<<20), memfs.New(1<<20)
	mustOK(t, ns.Mkdir(c, nil, "/tmp", 0o755))
	mustOK(t, ns.Mknod(c, nil, "/tmp/hidden", 0o644, 0))
	mustOK(t, ns.Mount("/tmp", tmp))
	mustOK(t, ns.Mount("/dev", dev))         // not there below
	mustOK(t, ns.Mount("/dev/pts/shm", shm)) // nor these two

	for step := 1; step < 10; step++ {
		for path, want := range map[string][]string{
			"/": {".", "..", "dev", "tmp"}, "/tmp": {".", ".."}, "/dev": {".", "..", "pts"},
			"/dev/pts": {".", "..", "shm"}, "/dev/pts/shm": {".", ".."},
		} {
			if d := cmp.Diff(want, list(t, ns, c, path, step)); d != "" {
				t.Errorf("%s in steps of %d (-want +got):\n%s", path, step, d)
			}
		}
	}
	var a, b vfs.Attr
	expect(t, "hidden", ns.Stat(c, nil, "/tmp/hidden", 0, &a), abi.ENOENT)
	mustOK(t, ns.Stat(c, nil, "/tmp", 0, &a))
	mustOK(t, ns.Stat(c, nil, "/", 0, &b))
	if a.Dev == b.Dev {
		t.Error("a mount has the device of what is below")
	}
	mustOK(t, ns.Stat(c, nil, "/tmp/..", 0, &a))
	if a != b {
		t.Errorf("/tmp/.. is not /: %v, %v", a, b)
	}
	mustOK(t, ns.Stat(c, nil, "/dev/pts/shm/../../../tmp/../dev", 0, &a))
	mustOK(t, ns.Stat(c, nil, "/dev/", 0, &b))
	if a != b {
		t.Error("the way up out of mounts leads elsewhere")
	}

	// Mount points stay, made or synthetic.
	expect(t, "rmdir", ns.Rmdir(c, nil, "/tmp"), abi.EBUSY)
	expect(t, "rmdir", ns.Rmdir(c, nil, "/dev"), abi.EBUSY)
	expect(t, "rmdir", ns.Rmdir(c, nil, "/dev/pts"), abi.EBUSY)
	expect(t, "rename", ns.Rename(c, nil, "/tmp", nil, "/tmp2", 0), abi.EBUSY)
	expect(t, "rename", ns.Rename(c, nil, "/dev", nil, "/dev2", 0), abi.EBUSY)
	mustOK(t, ns.Mkdir(c, nil, "/d", 0o755))
	expect(t, "rename", ns.Rename(c, nil, "/d", nil, "/tmp", 0), abi.EBUSY)
	expect(t, "rename", ns.Rename(c, nil, "/d", nil, "/dev", abi.RENAME_EXCHANGE), abi.EBUSY)
	expect(t, "mkdir", ns.Mkdir(c, nil, "/dev", 0o755), abi.EEXIST)
	expect(t, "mkdir", ns.Mkdir(c, nil, "/dev/pts/x", 0o755), abi.EROFS)
	expect(t, "unlink", ns.Unlink(c, nil, "/dev"), abi.EISDIR)
	expect(t, "chmod", ns.SetAttr(c, nil, "/dev/pts", 0, &vfs.SetAttr{Mask: vfs.SetMode, Mode: 0}), abi.EROFS)

	// Nothing goes across.
	mustOK(t, ns.Mknod(c, nil, "/f", 0o644, 0))
	expect(t, "rename", ns.Rename(c, nil, "/f", nil, "/tmp/f", 0), abi.EXDEV)
	expect(t, "link", ns.Link(c, nil, "/f", nil, "/tmp/f", 0), abi.EXDEV)
	mustOK(t, ns.Mknod(c, nil, "/tmp/f", 0o644, 0))
	expect(t, "link", ns.Link(c, nil, "/f", nil, "/tmp/f", 0), abi.EEXIST)
	expect(t, "rename", ns.Rename(c, nil, "/f", nil, "/tmp/f", 0), abi.EXDEV)

	// A symbolic link in one to the other.
	mustOK(t, ns.Symlink(c, "../f", nil, "/tmp/l"))
	mustOK(t, ns.Stat(c, nil, "/tmp/l", 0, &a))
	mustOK(t, ns.Stat(c, nil, "/f", 0, &b))
	if a != b {
		t.Error("the link leads elsewhere")
	}

	for _, path := range []string{"relative", "/tmp/..", "/f"} {
		if e := ns.Mount(path, memfs.New(1)); e == 0 {
			t.Errorf("mount on %s worked", path)
		}
	}
	var paths []string
	for _, m := range ns.Mounts() {
		paths = append(paths, m.Path+" "+m.Type)
	}
	if d := cmp.Diff([]string{"/ tmpfs", "/tmp tmpfs", "/dev tmpfs", "/dev/pts/shm tmpfs"}, paths); d != "" {
		t.Errorf("mounts (-want +got):\n%s", d)
	}
	mustOK(t, ns.Close())
}

func TestPathTo(t *testing.T) {
	ns, c := newTree(t)
	mustOK(t, ns.Mkdir(c, nil, "/a", 0o755))
	mustOK(t, ns.Mkdir(c, nil, "/a/b", 0o755))
	mustOK(t, ns.Mkdir(c, nil, "/jail", 0o755))
	mustOK(t, ns.Mount("/a/mnt", memfs.New(1<<20)))
	mustOK(t, ns.Mkdir(c, nil, "/a/mnt/in", 0o755))
	mustOK(t, ns.Mknod(c, nil, "/a/b/f", 0o644, 0))
	walk := func(path string) *vfs.Dentry {
		t.Helper()
		d, e := ns.Walk(c, nil, path, 0)
		mustOK(t, e)
		return d
	}
	check := func(c *vfs.Context, d *vfs.Dentry, want string, errno abi.Errno) {
		t.Helper()
		got, e := ns.PathTo(c, d)
		if got != want || e != errno {
			t.Errorf("got %q, %s, want %q, %s", got, e.String(), want, errno.String())
		}
	}
	check(c, walk("/"), "/", 0)
	b, f := walk("/a/b"), walk("/a/b/f")
	check(c, f, "/a/b/f", 0)
	check(c, walk("/a/mnt/in"), "/a/mnt/in", 0)
	check(c, walk("/a/mnt"), "/a/mnt", 0)
	inA := &vfs.Context{Root: walk("/a")}
	check(inA, f, "/b/f", 0)
	check(inA, walk("/a"), "/", 0)
	inJail := &vfs.Context{Root: walk("/jail")}
	check(inJail, f, "(unreachable)/a/b/f", 0)
	mustOK(t, ns.Rename(c, nil, "/a/b", nil, "/jail/c", 0))
	check(c, f, "/jail/c/f", 0)
	check(inJail, b, "/c", 0)
	mustOK(t, ns.Unlink(c, nil, "/jail/c/f"))
	check(c, f, "/jail/c/f (deleted)", abi.ENOENT)
	mustOK(t, ns.Rmdir(c, nil, "/jail/c"))
	check(c, b, "/jail/c (deleted)", abi.ENOENT)
	pipe := ns.NewAnonymous(f.Node(), "pipe:[7]", 9)
	check(c, pipe, "pipe:[7]", 0)
	var a vfs.Attr
	mustOK(t, pipe.Attr(&a))
	if a.Dev != 9 || pipe.FS() != nil {
		t.Errorf("anonymous: device %d, %v", a.Dev, pipe.FS())
	}
}

// TestRoot: ".." ends at the context's root, wherever a link or the directory at leads.
func TestRoot(t *testing.T) {
	ns, c := newTree(t)
	mustOK(t, ns.Mkdir(c, nil, "/jail", 0o755))
	mustOK(t, ns.Mkdir(c, nil, "/jail/d", 0o755))
	mustOK(t, ns.Mknod(c, nil, "/jail/secret", 0o644, 0))
	mustOK(t, ns.Mknod(c, nil, "/secret", 0o600, 0))
	mustOK(t, ns.Symlink(c, "/secret", nil, "/jail/abs"))
	mustOK(t, ns.Symlink(c, "../../../secret", nil, "/jail/d/rel"))
	root, e := ns.Walk(c, nil, "/jail", 0)
	mustOK(t, e)
	in := &vfs.Context{Root: root}
	var want, a vfs.Attr
	mustOK(t, ns.Stat(c, nil, "/jail/secret", 0, &want))
	for _, path := range []string{"/secret", "/../secret", "../../secret", "d/../../secret", "/abs", "d/rel", "/d/../../d/rel"} {
		mustOK(t, ns.Stat(in, nil, path, 0, &a))
		if a != want {
			t.Errorf("%s leads out", path)
		}
	}
	expect(t, "/jail", ns.Stat(in, nil, "/jail", 0, &a), abi.ENOENT)
	d, e := ns.Walk(in, nil, "d", 0)
	mustOK(t, e)
	mustOK(t, ns.Stat(in, d, "../../secret", 0, &a))
	if a != want {
		t.Error("../../secret from d leads out")
	}
	mustOK(t, ns.Stat(in, d, "", abi.AT_EMPTY_PATH, &a))
	expect(t, "empty path", ns.Stat(in, d, "", 0, &a), abi.ENOENT)
}

// procfs is a volatile file system: /self is a Jumper, and names change by themselves.
type procfs struct{ *memfs.FS }

func (procfs) VolatileNames() {}

func TestVolatile(t *testing.T) {
	ns, c := newTree(t)
	fs := memfs.New(1 << 20)
	mustOK(t, ns.Mount("/proc", procfs{fs}))
	var a vfs.Attr
	expect(t, "stat", ns.Stat(c, nil, "/proc/1", 0, &a), abi.ENOENT)
	root := fs.Root()
	made, e := root.Create("1", &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
	mustOK(t, e)
	mustOK(t, ns.Stat(c, nil, "/proc/1", 0, &a))
	d, e := ns.Walk(c, nil, "/proc/1/.", 0)
	mustOK(t, e)
	if p, e := ns.PathTo(c, d); p != "/proc/1" || e != 0 {
		t.Errorf("path %q, %s", p, e.String())
	}
	made.Unref()
	mustOK(t, root.Rmdir("1"))
	expect(t, "stat", ns.Stat(c, nil, "/proc/1", 0, &a), abi.ENOENT)
	mustOK(t, ns.Stat(c, d, "..", 0, &a))
	d.Unref()
	root.Unref()
	mustOK(t, ns.Mkdir(c, nil, "/proc/made", 0o755))
	mustOK(t, ns.Rename(c, nil, "/proc/made", nil, "/proc/moved", 0))
	mustOK(t, ns.Stat(c, nil, "/proc/moved", 0, &a))
	mustOK(t, ns.Rmdir(c, nil, "/proc/moved"))
	expect(t, "mount", ns.Mount("/proc/x", memfs.New(1)), abi.EINVAL)
	mustOK(t, ns.Close())
}

// jump is a symbolic link that leads to a dentry, or to where its text says.
type jump struct {
	vfs.Node
	to *vfs.Dentry
}

func (j jump) Mode() uint32                              { return abi.S_IFLNK | 0o777 }
func (j jump) Target(c *vfs.Context) (string, abi.Errno) { return fmt.Sprint("/", c.Owner), 0 }
func (j jump) Jump(*vfs.Context) (*vfs.Dentry, abi.Errno) {
	if j.to != nil {
		j.to.Ref()
	}
	return j.to, 0
}

// jumps is a file system whose root has the links "fd" and "self".
type jumps struct {
	procfs
	fd *vfs.Dentry
}

type jumpRoot struct {
	vfs.Node
	fd *vfs.Dentry
}

func (j jumps) Root() vfs.Node { return jumpRoot{j.procfs.Root(), j.fd} }

func (r jumpRoot) Lookup(name string) (vfs.Node, abi.Errno) {
	switch name {
	case "fd":
		r.Ref()
		return jump{r.Node, r.fd}, 0
	case "self":
		r.Ref()
		return jump{r.Node, nil}, 0
	}
	return nil, abi.ENOENT
}

func TestJumper(t *testing.T) {
	ns, c := newTree(t)
	mustOK(t, ns.Mkdir(c, nil, "/7", 0o755))
	mustOK(t, ns.Mknod(c, nil, "/7/x", 0o644, 0))
	file, created, e := ns.Open(c, nil, "/gone", abi.O_CREAT|abi.O_RDWR, 0o600)
	mustOK(t, e)
	if !created {
		t.Error("not created")
	}
	mustOK(t, ns.Unlink(c, nil, "/gone"))
	mustOK(t, ns.Mount("/proc", jumps{procfs{memfs.New(1 << 20)}, file}))
	c.Owner = 7
	for _, flags := range []int{abi.O_RDONLY, abi.O_RDWR | abi.O_CREAT, abi.O_RDWR | abi.O_TRUNC} {
		d, _, e := ns.Open(c, nil, "/proc/fd", flags, 0)
		mustOK(t, e)
		if d != file {
			t.Error("the jump leads elsewhere")
		}
		d.Unref()
	}
	_, _, e = ns.Open(c, nil, "/proc/fd", abi.O_CREAT|abi.O_EXCL, 0)
	expect(t, "O_EXCL", e, abi.EEXIST)
	_, _, e = ns.Open(c, nil, "/proc/fd", abi.O_NOFOLLOW, 0)
	expect(t, "O_NOFOLLOW", e, abi.ELOOP)
	_, _, e = ns.Open(c, nil, "/proc/fd/", 0, 0)
	expect(t, "slash", e, abi.ENOTDIR)
	var a vfs.Attr
	expect(t, "below a file", ns.Stat(c, nil, "/proc/fd/x", 0, &a), abi.ENOTDIR)
	mustOK(t, ns.Stat(c, nil, "/proc/self/x", 0, &a))
	mustOK(t, ns.Stat(c, nil, "/proc/self/", 0, &a))
	got, e := ns.Readlink(c, nil, "/proc/self")
	mustOK(t, e)
	if got != "/7" {
		t.Errorf("readlink: %q", got)
	}
}
