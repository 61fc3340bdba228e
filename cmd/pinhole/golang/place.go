package golang

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pinhole/cmd/pinhole/image"
	"pinhole/fs/ext4/mkfs"
)

// Place is what a program finds around it in a sandbox: files of the host under their own paths, and
// what any system has.
type Place struct {
	files []mkfs.File
	have  map[string]bool
	fetch map[string]string // where files are that are to come back, in the image and on the host
	grow  map[string]string // the same of directories of which new files are to come back
}

// mounts are where a sandbox has file systems of its own, under which nothing of an image is seen.
var mounts = []string{"/dev", "/proc"}

// hidden tells whether what is at a path of the host cannot be seen there in a sandbox.
func hidden(path string) bool {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return slices.ContainsFunc(mounts, func(m string) bool { return strings.HasPrefix(path+"/", m+"/") })
}

// otherTemp is for temporary files, where the host's directory for them is hidden.
const otherTemp = "/tmp"

// NewPlace makes a place with the program, at its own path, and the directory cwd, empty.
func NewPlace(program, cwd, goroot string) (*Place, error) {
	for _, path := range []string{program, cwd} {
		if hidden(path) {
			return nil, fmt.Errorf("%s: a sandbox has file systems of its own in %s; this has to be elsewhere", path, strings.Join(mounts, " and "))
		}
	}
	p := &Place{have: map[string]bool{}, fetch: map[string]string{}, grow: map[string]string{}}
	p.system()
	p.directory(otherTemp)
	for _, dir := range []string{os.TempDir(), os.Getenv("HOME")} {
		if filepath.IsAbs(dir) {
			p.directory(filepath.Clean(dir))
		}
	}
	p.directory(cwd)
	if goroot != "" {
		p.copy(filepath.Join(goroot, "lib", "time", "zoneinfo.zip")) // time's second choice
	}
	return p, p.copy(program)
}

// system adds what any system has.
func (p *Place) system() {
	passwd := "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
	group := "root:x:0:\nnogroup:x:65534:\n"
	if u, err := user.Current(); err == nil && u.Uid != "0" {
		passwd += fmt.Sprintf("%s:x:%s:%s:%s:%s:/bin/sh\n", u.Username, u.Uid, u.Gid, u.Name, u.HomeDir)
		if g, err := user.LookupGroupId(u.Gid); err == nil {
			group += fmt.Sprintf("%s:x:%s:\n", g.Name, g.Gid)
		}
	}
	host, _ := os.Hostname()
	for _, f := range []struct{ path, text string }{
		{"/etc/passwd", passwd},
		{"/etc/group", group},
		{"/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
		{"/etc/hostname", host + "\n"},
		{"/etc/nsswitch.conf", "hosts: files dns\n"},
	} {
		p.add(mkfs.File{Path: f.path, Mode: 0o644, Content: []byte(f.text)})
	}
	for _, path := range []string{"/etc/protocols", "/etc/services", "/etc/mime.types", "/etc/localtime"} {
		// Behind its links: what they lead to is not there.
		if from, err := filepath.EvalSymlinks(path); err == nil {
			p.as(from, path)
		}
	}
	p.tree("/usr/share/zoneinfo", limits{bytes: 4 << 20, files: 2000}, func(name string) bool { return name == "posix" || name == "right" })
}

// add adds a file, unless there is one already.
func (p *Place) add(f mkfs.File) {
	if !p.have[f.Path] {
		p.have[f.Path] = true
		p.files = append(p.files, f)
	}
}

// directory adds a directory, and those above it, as they are on the host: where a symbolic link leads to
// one, it does so here. It returns the path without links.
func (p *Place) directory(path string) string { return p.follow(path, maxLinks) }

// maxLinks is how many links may lead one to the next, as in path_resolution(7).
const maxLinks = 40

func (p *Place) follow(path string, links int) string {
	if path == "/" {
		return path
	}
	path = filepath.Join(p.follow(filepath.Dir(path), links), filepath.Base(path))
	if to, err := os.Readlink(path); err == nil && links > 0 {
		p.add(mkfs.File{Path: path, Mode: unix.S_IFLNK | 0o777, Content: []byte(to)})
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		return p.follow(filepath.Clean(to), links-1)
	}
	f := mkfs.File{Path: path, Mode: unix.S_IFDIR | 0o755}
	var s unix.Stat_t
	if unix.Lstat(path, &s) == nil && s.Mode&unix.S_IFMT == unix.S_IFDIR {
		f.Mode, f.UID, f.GID = s.Mode, s.Uid, s.Gid
	}
	p.add(f)
	return path
}

// as adds a file of the host at the path to.
func (p *Place) as(from, to string) error {
	to = filepath.Join(p.directory(filepath.Dir(to)), filepath.Base(to))
	f, err := image.HostFile(from, to)
	if err == nil {
		p.add(f)
	}
	return err
}

// copy adds a file at its own path, and if that is a symbolic link the file that it leads to.
func (p *Place) copy(path string) error {
	for range maxLinks {
		if err := p.as(path, path); err != nil {
			return err
		}
		to, err := os.Readlink(path)
		if err != nil {
			return nil
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(p.directory(filepath.Dir(path)), to)
		}
		path = filepath.Clean(to)
		if st, err := os.Stat(path); err != nil || st.IsDir() {
			return nil // it leads nowhere, or to what was not asked for
		}
	}
	return nil
}

// limits of what is put into an image without having been asked for.
type limits struct {
	bytes int64
	files int
}

// tree adds a directory of the host with all that is in it, but for names that skip chooses. It adds nothing
// if that is more than the limits allow, and reports whether it did.
func (p *Place) tree(root string, most limits, skip func(name string) bool) bool {
	var found []string
	var bytes int64
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // what cannot be read is not there
		}
		if path != root && skip(d.Name()) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		} else if !d.IsDir() && d.Type() != fs.ModeSymlink {
			return nil
		}
		if found = append(found, path); len(found) > most.files || bytes > most.bytes {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil || len(found) > most.files || bytes > most.bytes {
		return false
	}
	base := p.directory(filepath.Dir(root)) // without links, as are the paths below it
	for _, path := range found {
		to := filepath.Join(base, strings.TrimPrefix(path, filepath.Dir(root)))
		if f, err := image.HostFile(path, to); err == nil {
			p.add(f)
		}
	}
	return true
}

// above adds the files of a directory, and what is in its testdata, but no other directories.
func (p *Place) above(dir string) {
	p.tree(filepath.Join(dir, "testdata"), aboveLimits, func(string) bool { return false })
	entries, _ := os.ReadDir(dir)
	for _, e := range entries[:min(len(entries), aboveLimits.files)] {
		if e.Type().IsRegular() {
			p.copy(filepath.Join(dir, e.Name()))
		}
	}
}

// What a test gets of its module: all of it, or else its package's directory, what is below, and of the
// directories above the files and the test data.
var (
	moduleLimits  = limits{bytes: 32 << 20, files: 3000}
	aboveLimits   = limits{bytes: 32 << 20, files: 1000}
	packageLimits = limits{bytes: 1 << 30, files: 100_000}
)

// Package adds what the tests of the package in dir may look at.
func (p *Place) Package(dir string) error {
	git := func(name string) bool { return name == ".git" }
	for root := dir; root != "/"; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
			continue
		}
		if p.tree(root, moduleLimits, git) {
			return nil
		}
		for up := dir; up != root; {
			up = filepath.Dir(up)
			p.above(up)
		}
		break
	}
	if !p.tree(dir, packageLimits, git) {
		return fmt.Errorf("%s: has more than %d files or %d bytes, too much for a throw-away disk", dir, packageLimits.files, packageLimits.bytes)
	}
	return nil
}

// Import adds a file or directory that was asked for.
func (p *Place) Import(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if st, err := os.Stat(path); err != nil {
		return err
	} else if !st.IsDir() {
		return p.copy(path)
	}
	if !p.tree(path, packageLimits, func(string) bool { return false }) {
		return fmt.Errorf("%s: has more than %d files or %d bytes, too much for a throw-away disk", path, packageLimits.files, packageLimits.bytes)
	}
	return nil
}

// Scratch makes the image: the files alone, or on a copy of the image at base.
func (p *Place) Scratch(base string, room int64) (*os.File, error) {
	if base != "" {
		return image.ScratchCopy(base, p.files)
	}
	return image.Scratch(p.files, room)
}
