package image

import (
	"crypto/sha256"
	"fmt"
	"sort"
	"strings"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// describe tells all there is to know of each file of an image, by path: what two images have to have in
// common to be the same.
func describe(t testing.TB, image string) map[string]string {
	t.Helper()
	im, err := Open(image, false)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	all := make(map[string]string)
	first := make(map[uint64]string)
	walk := tree{im: im, enter: func(n *treeNode) (bool, error) {
		if n.path == "/lost+found" {
			return false, nil
		}
		desc := fmt.Sprintf("%s %d:%d mtime %d.%09d atime %d.%09d", modeString(n.a.Mode), n.a.UID, n.a.GID, n.a.Mtime.Sec, n.a.Mtime.Nsec, n.a.Atime.Sec, n.a.Atime.Nsec)
		if !n.isDir() {
			desc += fmt.Sprintf(" links %d", n.a.Nlink)
			if to, ok := first[n.a.Ino]; ok {
				desc += " same as " + to
			}
			first[n.a.Ino] = n.path
		}
		switch n.a.Mode & abi.S_IFMT {
		case abi.S_IFCHR, abi.S_IFBLK:
			major, minor := splitDev(n.a.Rdev)
			desc += fmt.Sprintf(" device %d,%d", major, minor)
		case abi.S_IFLNK:
			target, e := n.d.Node().Readlink()
			if e != 0 {
				return false, e
			}
			desc += " -> " + target
		case abi.S_IFREG:
			h := sha256.New()
			if n.a.Size < 1<<30 {
				if err := im.read(n.d, n.path, n.a.Size, h); err != nil {
					return false, err
				}
			}
			desc += fmt.Sprintf(" size %d %x", n.a.Size, h.Sum(nil)[:8])
			hs := n.d.Node().(vfs.HoleSeeker)
			for off := int64(0); off < n.a.Size; {
				data, e := hs.SeekData(off)
				if e != 0 {
					break
				}
				off, _ = hs.SeekHole(data)
				if data > 0 || off < n.a.Size {
					desc += fmt.Sprintf(" data %d-%d", data, off)
				}
			}
		}
		if x, ok := n.d.Node().(vfs.XattrNode); ok {
			names, _ := x.Listxattr()
			sort.Strings(names)
			for _, name := range names {
				v, e := x.Getxattr(name)
				if e != 0 {
					return false, e
				}
				desc += fmt.Sprintf(" %s=%q", name, v)
			}
		}
		all[n.path] = desc
		return true, nil
	}}
	if err := walk.walk("/", false); err != nil {
		t.Fatal(err)
	}
	return all
}

// names returns the paths of what describe found, sorted and in one line.
func names(all map[string]string) string {
	var list []string
	for p := range all {
		if p != "/" {
			list = append(list, p)
		}
	}
	sort.Strings(list)
	return strings.Join(list, " ")
}
