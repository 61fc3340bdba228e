package image

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"pinhole/abi"
	"pinhole/cmd/pinhole/units"
	"pinhole/fs/vfs"
)

type findCmd struct {
	Name     []string `short:"n" sep:"none" placeholder:"PATTERN" help:"Its name matches a shell pattern; one of them, if it is given again."`
	Iname    []string `sep:"none" placeholder:"PATTERN" help:"As --name, upper and lower case alike."`
	Path     []string `sep:"none" placeholder:"PATTERN" help:"Its whole path matches; * matches slashes, too."`
	Type     string   `short:"t" placeholder:"fdlpscb" help:"Regular file, directory, link, FIFO, socket, character or block device."`
	Size     string   `placeholder:"[+-]N" help:"Its size in bytes, or with K, M, G: more than (+), less than (-), or just that."`
	Newer    string   `placeholder:"FILE|TIME" help:"Its content changed after that of a file in the image, or after 2026-01-31 or 2026-01-31T12:00:00."`
	Mtime    string   `placeholder:"[+-]DAYS" help:"Its content changed more than (+), less than (-), or just so many days ago."`
	User     string   `placeholder:"NAME|UID" help:"Whose it is; names are those of the image's /etc/passwd."`
	Group    string   `placeholder:"NAME|GID" help:"The same for its group."`
	Perm     string   `placeholder:"[/-]MODE" help:"Its permission bits, in octal, are just these; all of them (-), or one of them (/), are set."`
	Xattr    []string `sep:"none" placeholder:"PATTERN" help:"It has an extended attribute of such a name, such as security.capability."`
	Links    string   `placeholder:"[+-]N" help:"How many names it has."`
	Inode    uint64   `placeholder:"N" help:"The number of its inode."`
	Empty    bool     `help:"A regular file without content, or a directory without files."`
	MaxDepth int      `placeholder:"N" default:"-1" help:"Not more than N levels below START."`
	MinDepth int      `placeholder:"N" help:"Not less."`
	Long     bool     `short:"l" help:"Print each as ls -l does."`
	Print0   bool     `name:"print0" short:"0" help:"Print names as they are, with a NUL behind each, for xargs -0."`
	Format   string   `placeholder:"TEXT" help:"Print this for each: %p path, %f name, %P path from START, %s size, %b blocks of 512 bytes, %k KiB, %m mode in octal, %M as ls, %u %g owner's numbers, %n links, %i inode, %t time, %T@ seconds, %l where a link leads, %y type, %d depth; \\n \\t \\0 \\\\."`
	Image    string   `arg:"" help:"Image file."`
	Start    []string `arg:"" optional:"" help:"Where to begin (/)."`
}

// Help is the long text of --help.
func (findCmd) Help() string {
	return `Prints the files for which all is true that is asked for. Values that begin with a minus are written with
an equals sign: --size=-1M.

  pinhole image find app.img --name='*.log' --size=+10M
  pinhole image find app.img /usr --type=f --perm=/6000 --long
  pinhole image find app.img --newer=2026-01-31 --format='%s %p\n'`
}

// test says whether a file is wanted.
type test func(n *treeNode) (bool, error)

// Run implements the command.
func (c *findCmd) Run() error {
	im, done, err := openInterruptible(c.Image)
	if err != nil {
		return err
	}
	defer done()
	f := finder{c: c, im: im, out: bufio.NewWriter(os.Stdout)}
	if err := f.compile(); err != nil {
		return fmt.Errorf("find: %w", err)
	}
	starts := c.Start
	if len(starts) == 0 {
		starts = []string{"/"}
	}
	for _, s := range starts {
		f.start = s
		t := tree{im: im, enter: f.visit}
		if err := t.walk(s, false); err != nil {
			f.out.Flush()
			return err
		}
	}
	return f.out.Flush()
}

type finder struct {
	c     *findCmd
	im    *Image
	out   *bufio.Writer
	tests []test
	start string
	print func(n *treeNode) error
}

// compile turns the flags into tests.
func (f *finder) compile() error {
	c := f.c
	add := func(t test) { f.tests = append(f.tests, t) }
	for _, p := range []struct {
		patterns []string
		fold     bool
		of       func(n *treeNode) string
	}{{c.Name, false, func(n *treeNode) string { return n.name }}, {c.Iname, true, func(n *treeNode) string { return n.name }}, {c.Path, false, func(n *treeNode) string { return n.path }}} {
		if len(p.patterns) == 0 {
			continue
		}
		all, err := globs(p.patterns, p.fold)
		if err != nil {
			return err
		}
		add(func(n *treeNode) (bool, error) { return matchAny(all, p.of(n)), nil })
	}
	if c.Type != "" {
		if i := strings.IndexFunc(c.Type, func(r rune) bool { return !strings.ContainsRune("fdlpscb", r) }); i >= 0 {
			return fmt.Errorf("--type %q: there is no type %q; there are f, d, l, p, s, c and b", c.Type, c.Type[i:i+1])
		}
		add(func(n *treeNode) (bool, error) { return strings.IndexByte(c.Type, typeLetter(n.a.Mode)) >= 0, nil })
	}
	if c.Size != "" {
		match, err := compare("--size", c.Size, func(s string) (int64, error) {
			var v units.Size
			return int64(v), v.UnmarshalText([]byte(s))
		})
		if err != nil {
			return err
		}
		add(func(n *treeNode) (bool, error) { return match(n.a.Size), nil })
	}
	if c.Links != "" {
		match, err := compare("--links", c.Links, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
		if err != nil {
			return err
		}
		add(func(n *treeNode) (bool, error) { return match(int64(n.a.Nlink)), nil })
	}
	if c.Inode != 0 {
		add(func(n *treeNode) (bool, error) { return n.a.Ino == c.Inode, nil })
	}
	if err := f.compileTimes(add); err != nil {
		return err
	}
	if err := f.compileOwners(add); err != nil {
		return err
	}
	if len(c.Xattr) > 0 {
		all, err := globs(c.Xattr, false)
		if err != nil {
			return err
		}
		add(func(n *treeNode) (bool, error) {
			x, ok := n.d.Node().(vfs.XattrNode)
			if !ok {
				return false, nil
			}
			names, e := x.Listxattr()
			if e != 0 && e != abi.EOPNOTSUPP {
				return false, f.im.fail(n.path, e)
			}
			for _, name := range names {
				if matchAny(all, name) {
					return true, nil
				}
			}
			return false, nil
		})
	}
	if c.Empty {
		add(f.empty)
	}
	switch {
	case c.Format != "":
		if err := f.format(new(strings.Builder), &treeNode{d: nil}, true); err != nil {
			return err
		}
		f.print = func(n *treeNode) error {
			var b strings.Builder
			if err := f.format(&b, n, false); err != nil {
				return err
			}
			_, err := f.out.WriteString(b.String())
			return err
		}
	case c.Print0:
		f.print = func(n *treeNode) error { _, err := f.out.WriteString(n.path + "\x00"); return err }
	case c.Long:
		l := lister{im: f.im, out: f.out, long: true}
		f.print = func(n *treeNode) error { return l.lines([]line{{n.path, n.d, n.a}}) }
	default:
		f.print = func(n *treeNode) error { _, err := f.out.WriteString(printable(n.path) + "\n"); return err }
	}
	return nil
}

func globs(patterns []string, fold bool) ([]*regexp.Regexp, error) {
	var all []*regexp.Regexp
	for _, p := range patterns {
		re, err := glob(p, fold)
		if err != nil {
			return nil, err
		}
		all = append(all, re)
	}
	return all, nil
}

func matchAny(all []*regexp.Regexp, s string) bool {
	for _, re := range all {
		if re.MatchString(s) {
			return true
		}
	}
	return false
}

func typeLetter(mode uint32) byte {
	letter := modeString(mode)[0]
	if letter == '-' {
		return 'f'
	}
	return letter
}

// compare makes a comparison of "+N", "-N" or "N".
func compare(flag, text string, parse func(string) (int64, error)) (func(int64) bool, error) {
	digits := strings.TrimLeft(text, "+-")
	if len(text)-len(digits) > 1 {
		return nil, fmt.Errorf("%s %q is not a number with + or - before it", flag, text)
	}
	want, err := parse(digits)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", flag, text, plainNumber(err))
	}
	switch text[0] {
	case '+':
		return func(v int64) bool { return v > want }, nil
	case '-':
		return func(v int64) bool { return v < want }, nil
	}
	return func(v int64) bool { return v == want }, nil
}

// plainNumber takes what package strconv says about itself off an error.
func plainNumber(err error) error {
	var n *strconv.NumError
	if errors.As(err, &n) {
		return errors.New("is not a number")
	}
	return err
}

func (f *finder) compileTimes(add func(test)) error {
	c := f.c
	if c.Newer != "" {
		after, err := f.time(c.Newer)
		if err != nil {
			return err
		}
		add(func(n *treeNode) (bool, error) { return mtime(n).After(after), nil })
	}
	if c.Mtime != "" {
		match, err := compare("--mtime", c.Mtime, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 32) })
		if err != nil {
			return err
		}
		now := time.Now()
		add(func(n *treeNode) (bool, error) { return match(int64(now.Sub(mtime(n)) / (24 * time.Hour))), nil })
	}
	return nil
}

func mtime(n *treeNode) time.Time { return time.Unix(n.a.Mtime.Sec, int64(n.a.Mtime.Nsec)) }

// time reads a time, or takes that of a file.
func (f *finder) time(text string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04:05", time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	d, a, err := f.im.walk(text, true)
	if err != nil {
		return time.Time{}, fmt.Errorf("--newer %s: is neither a time (2026-01-31) nor a file: %w", text, err)
	}
	d.Unref()
	return time.Unix(a.Mtime.Sec, int64(a.Mtime.Nsec)), nil
}

func (f *finder) compileOwners(add func(test)) error {
	c := f.c
	if c.User != "" {
		id, err := f.im.owner("/etc/passwd", c.User)
		if err != nil {
			return fmt.Errorf("--user: %w", err)
		}
		add(func(n *treeNode) (bool, error) { return n.a.UID == id, nil })
	}
	if c.Group != "" {
		id, err := f.im.owner("/etc/group", c.Group)
		if err != nil {
			return fmt.Errorf("--group: %w", err)
		}
		add(func(n *treeNode) (bool, error) { return n.a.GID == id, nil })
	}
	if c.Perm != "" {
		digits := strings.TrimLeft(c.Perm, "/-")
		v, err := strconv.ParseUint(digits, 8, 32)
		if err != nil || v > 0o7777 || len(c.Perm)-len(digits) > 1 {
			return fmt.Errorf("--perm %q is not a mode; write 644, -111 or /6000", c.Perm)
		}
		want := uint32(v)
		switch c.Perm[0] {
		case '-':
			add(func(n *treeNode) (bool, error) { return n.a.Mode&want == want, nil })
		case '/':
			add(func(n *treeNode) (bool, error) { return want == 0 || n.a.Mode&want != 0, nil })
		default:
			add(func(n *treeNode) (bool, error) { return n.a.Mode&0o7777 == want, nil })
		}
	}
	return nil
}

func (f *finder) empty(n *treeNode) (bool, error) {
	switch n.a.Mode & abi.S_IFMT {
	case abi.S_IFREG:
		return n.a.Size == 0, nil
	case abi.S_IFDIR:
		found := false
		e := f.im.ns.ReadDir(n.d, 0, func(entry *vfs.DirEntry) bool {
			found = found || entry.Name != "." && entry.Name != ".."
			return !found
		})
		return !found, f.im.fail(n.path, e)
	}
	return false, nil
}

func (f *finder) visit(n *treeNode) (bool, error) {
	descend := f.c.MaxDepth < 0 || n.depth < f.c.MaxDepth
	if n.depth < f.c.MinDepth {
		return descend, nil
	}
	for _, t := range f.tests {
		if ok, err := t(n); !ok || err != nil {
			return descend, err
		}
	}
	return descend, f.print(n)
}
