package image

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"pinhole/blockdev/filedev"
	"pinhole/cmd/pinhole/units"
	"pinhole/fs/ext4/mkfs"
)

type createCmd struct {
	Size      units.Size `short:"s" placeholder:"SIZE" help:"Size of the disk: 64M, 2G. What is not used takes no room on the host. (1G, or what --from needs and as much again)"`
	From      string     `short:"f" placeholder:"DIR|TAR" help:"Directory, or tar archive (also of gzip or bzip2), whose files go into the image, with owners, modes, times, links and attributes; - reads an archive from standard input."`
	Mkfs      string     `enum:"auto,host,own" default:"auto" help:"Who makes the file system: mkfs.ext4 of the host, Pinhole itself, or the host if it can (${enum})."`
	BlockSize int        `enum:"1024,2048,4096" default:"4096" help:"Bytes of a block (${enum})."`
	Inodes    uint64     `placeholder:"N" help:"How many files there can be, at least."`
	Label     string     `placeholder:"NAME" help:"Name of the file system, at most 16 bytes."`
	NoJournal bool       `help:"Make a file system that a crash may damage."`
	Force     bool       `help:"Replace an existing file."`
	Image     string     `arg:"" help:"Image file to make."`
}

const (
	defaultSize = 1 << 30
	leastSize   = 1 << 20
)

// Run implements the command.
func (c *createCmd) Run() error {
	if c.Size != 0 && c.Size < leastSize {
		return fmt.Errorf("--size %d is too small for an image; it takes at least 1M", int64(c.Size))
	}
	src, err := openSource(c.From)
	if err != nil {
		return err
	}
	defer src.close()
	size := int64(c.Size)
	if size == 0 {
		size = max(src.needs(), defaultSize)
	}
	inodes := max(c.Inodes, uint64(src.files+src.files/4))

	target, err := newTarget(c.Image, c.Force)
	if err != nil {
		return err
	}
	defer target.abandon()
	if err := target.f.Truncate(size); err != nil {
		return fmt.Errorf("image %s: %w", c.Image, err)
	}
	if err := c.format(target.f, inodes); err != nil {
		return fmt.Errorf("image %s: %w", c.Image, err)
	}
	if src.kind != sourceNone {
		if err := src.fill(c.Image, target.f); err != nil {
			return err
		}
	}
	return target.commit()
}

// format makes an empty file system on f.
func (c *createCmd) format(f *os.File, inodes uint64) error {
	if c.Mkfs != "own" {
		tool, err := findTool("mkfs.ext4")
		if err == nil {
			return c.formatHost(tool, f, inodes)
		}
		if c.Mkfs == "host" {
			return fmt.Errorf("--mkfs=host: %w", err)
		}
	}
	dev, err := filedev.New(f)
	if err != nil {
		return err
	}
	return mkfs.Format(dev, mkfs.Options{BlockSize: c.BlockSize, Label: c.Label, Inodes: inodes, NoJournal: c.NoJournal, Fresh: true})
}

func (c *createCmd) formatHost(tool string, f *os.File, inodes uint64) error {
	// Nothing of the image is reserved for root; inode tables are there from the start, as holes.
	args := []string{"-q", "-F", "-b", strconv.Itoa(c.BlockSize), "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=1"}
	if inodes > 0 {
		st, err := f.Stat()
		if err != nil {
			return err
		}
		// mkfs.ext4 takes the number as it is; below its usual one there is nothing to ask for.
		if inodes > uint64(st.Size()/16384) {
			args = append(args, "-N", strconv.FormatUint(inodes, 10))
		}
	}
	if c.Label != "" {
		args = append(args, "-L", c.Label)
	}
	if c.NoJournal {
		args = append(args, "-O", "^has_journal")
	}
	cmd := exec.Command(tool, append(args, "/proc/self/fd/3")...)
	cmd.ExtraFiles = []*os.File{f}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// findTool finds a program of e2fsprogs, which users do not always have in their PATH.
func findTool(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/sbin", "/usr/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("the host has no %s; install its package e2fsprogs", name)
}
