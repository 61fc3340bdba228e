package image

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"pinhole/abi"
	"pinhole/cmd/pinhole/units"
)

type duCmd struct {
	Summary  bool     `short:"s" help:"Only the sum of each PATH."`
	Depth    int      `short:"d" placeholder:"N" default:"-1" help:"Directories at most N levels below PATH; what is deeper counts all the same."`
	All      bool     `short:"a" help:"Files, too, not only directories."`
	Kib      bool     `short:"k" help:"Show KiB, not 1.5G and the like."`
	Apparent bool     `short:"A" help:"Count what files have in them, not the room that they take: other for holes and small files."`
	Total    bool     `short:"c" help:"Add a line with the sum of all."`
	Image    string   `arg:"" help:"Image file."`
	Path     []string `arg:"" optional:"" help:"Files and directories in the image (/)."`
}

// Help is the long text of --help.
func (duCmd) Help() string {
	return `Files with several names count once. The numbers are those of du(1) for the
image mounted by loop device.

  pinhole image du app.img --depth=1 /usr`
}

// Run implements the command.
func (c *duCmd) Run() error {
	im, done, err := openInterruptible(c.Image)
	if err != nil {
		return err
	}
	defer done()
	if c.Summary {
		if c.Depth > 0 {
			return errors.New("du: --summary is --depth=0; give one of them")
		}
		c.Depth = 0
	}
	paths := c.Path
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	out := bufio.NewWriter(os.Stdout)
	u := usage{c: c, out: out, seen: make(map[uint64]bool)}
	for _, p := range paths {
		u.top = len(u.sums)
		t := tree{im: im, enter: u.enter, leave: u.leave}
		if err := t.walk(p, false); err != nil {
			out.Flush()
			return err
		}
	}
	if c.Total {
		u.print(u.total, "total")
	}
	return out.Flush()
}

// usage adds up.
type usage struct {
	c     *duCmd
	out   *bufio.Writer
	seen  map[uint64]bool // files with several names that were counted
	sums  []int64         // of the directories on the way, in bytes
	top   int
	total int64
}

func (u *usage) enter(n *treeNode) (bool, error) {
	size := n.a.Blocks * 512
	if u.c.Apparent {
		size = n.a.Size
		switch n.a.Mode & abi.S_IFMT {
		case abi.S_IFREG, abi.S_IFLNK:
		default:
			size = 0 // as du --apparent-size
		}
	}
	if n.isDir() {
		u.sums = append(u.sums, size)
		return true, nil
	}
	if n.a.Nlink > 1 {
		if u.seen[n.a.Ino] {
			return false, nil
		}
		u.seen[n.a.Ino] = true
	}
	if n.depth == 0 || u.c.All && (u.c.Depth < 0 || n.depth <= u.c.Depth) {
		u.print(size, n.path)
	}
	u.add(size)
	return false, nil
}

// add counts for the directory above.
func (u *usage) add(size int64) {
	if len(u.sums) == 0 {
		u.total += size
		return
	}
	u.sums[len(u.sums)-1] += size
}

func (u *usage) leave(n *treeNode) error {
	size := u.sums[len(u.sums)-1]
	u.sums = u.sums[:len(u.sums)-1]
	u.add(size)
	if u.c.Depth < 0 || n.depth <= u.c.Depth {
		u.print(size, n.path)
	}
	return nil
}

func (u *usage) print(size int64, path string) {
	shown := units.Format(size)
	if u.c.Kib {
		shown = fmt.Sprint((size + 1023) / 1024)
	}
	fmt.Fprintf(u.out, "%s\t%s\n", shown, printable(path))
}
