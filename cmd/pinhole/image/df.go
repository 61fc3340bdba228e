package image

import (
	"fmt"
	"os"
	"text/tabwriter"

	"pinhole/fs/vfs"
)

type dfCmd struct {
	Bytes bool     `short:"b" help:"Show bytes, not 1.5G and the like."`
	Image []string `arg:"" help:"Image files."`
}

// Help is the long text of --help.
func (dfCmd) Help() string {
	return `Size is what files can have, without the file system's own tables; avail leaves out what is reserved for
root. The numbers are those of df(1) for the image mounted by loop device, but for avail: Linux keeps 2% of
the blocks, 16 MiB at most, for itself.

  pinhole image df *.img`
}

// Run implements the command.
func (c *dfCmd) Run() error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "size\tused\tavail\tuse\tfiles\tfree\t  image")
	for _, path := range c.Image {
		im, err := Open(path, false)
		if err != nil {
			t.Flush()
			return err
		}
		var s vfs.StatFS
		e := im.fs.StatFS(&s)
		if err := im.Close(); err != nil {
			return err
		}
		if e != 0 {
			return im.fail("", e)
		}
		size := func(blocks uint64) string {
			if c.Bytes {
				return fmt.Sprint(blocks * uint64(s.Bsize))
			}
			return bytesString(int64(blocks) * s.Bsize)
		}
		used := s.Blocks - min(s.Bfree, s.Blocks)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t  %s\n", size(s.Blocks), size(used), size(s.Bavail), percent(used, used+s.Bavail), s.Files-s.Ffree, s.Ffree, printable(path))
	}
	return t.Flush()
}

// percent rounds up, as df(1).
func percent(part, of uint64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", (part*100+of-1)/of)
}
