package image

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"pinhole/blockdev"
	"pinhole/blockdev/filedev"
	"pinhole/cmd/pinhole/units"
	"pinhole/fs/ext4/check"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/ext4/resize"
)

type resizeCmd struct {
	Minimum bool   `short:"M" help:"Make it as small as it can be without losing anything."`
	DryRun  bool   `short:"n" help:"Only say what size it has, what size it would get, and what the least is."`
	Image   string `arg:"" help:"Image file; not in use by a sandbox."`
	Size    string `arg:"" optional:"" help:"New size: 512M, 4G; or by how much it is to grow: +1G."`
}

// Help is the long text of --help.
func (resizeCmd) Help() string {
	return `Whatever happens meanwhile, the image is either as it was, or has its new size.

It grows where it is: what is new is written behind the old end, and everything else changes in one transaction
of its own journal. If that cannot be (it becomes smaller, or has no journal, or too small a one), it is done on a
copy, which then takes the image's place at once and as a whole. Where the host's file system can share the blocks
of files (btrfs, XFS, bcachefs), the copy takes no time and no room; elsewhere the host needs free as much as
is in use in the image.

A smaller image may give files other inode numbers. Both before and after, the file system is checked.

  pinhole image resize app.img +10G
  pinhole image resize --minimum app.img`
}

// target returns the size asked for.
func (c *resizeCmd) target(now int64) (int64, error) {
	text, grow := strings.CutPrefix(c.Size, "+")
	var s units.Size
	if err := s.UnmarshalText([]byte(text)); err != nil {
		return 0, err
	}
	n := int64(s)
	if grow {
		if n > math.MaxInt64-now {
			return 0, fmt.Errorf("size %s is too large", c.Size)
		}
		n += now
	}
	if n < leastSize {
		return 0, fmt.Errorf("size %s is too small for an image; it takes at least 1M", c.Size)
	}
	return n, nil
}

// Run implements the command.
func (c *resizeCmd) Run() error {
	switch {
	case c.Size == "" && !c.Minimum && !c.DryRun:
		return errors.New("resize: give the new size, such as 4G or +1G, or --minimum")
	case c.Size != "" && c.Minimum:
		return errors.New("resize: give a size or --minimum, not both")
	}
	ctx, done := interruptible()
	defer done()
	f, err := openLocked(c.Image, !c.DryRun)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("is a device, whose size is what it is; use resize2fs for the file system on it")
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", c.Image, err)
	}
	size := int64(0)
	if c.Size != "" {
		if size, err = c.target(st.Size()); err != nil {
			return err
		}
	}
	if c.DryRun {
		return c.say(f, st.Size(), size)
	}
	switch err := growFile(ctx, c.Image, f, size); {
	case err == nil:
		fmt.Printf("%s: %s, was %s\n", c.Image, bytesString(size), bytesString(st.Size()))
		return nil
	case !errors.Is(err, resize.ErrInPlace):
		return err
	}
	t, err := replacement(f)
	if err != nil {
		return err
	}
	defer t.abandon()
	if err := copyFile(ctx, t.f, f); err != nil {
		return copyError(c.Image, err)
	}
	if err := resizeFile(ctx, c.Image, t.f, size); err != nil {
		return err
	}
	now, err := t.f.Stat()
	if err != nil {
		return err
	}
	if err := t.commit(); err != nil {
		return err
	}
	fmt.Printf("%s: %s, was %s\n", c.Image, bytesString(now.Size()), bytesString(st.Size()))
	return nil
}

// say prints sizes.
func (c *resizeCmd) say(f *os.File, now, size int64) error {
	dev, err := filedev.New(f)
	if err != nil {
		return err
	}
	least, err := resize.Minimum(dev)
	if err != nil {
		return c.resizeError(err, 0, 0)
	}
	fmt.Printf("now:   %s (%d bytes)\n", bytesString(now), now)
	fmt.Printf("least: %s (%d bytes)\n", bytesString(least.Bytes()), least.Bytes())
	if c.Minimum {
		size = least.Bytes()
	}
	if size != 0 {
		fmt.Printf("then:  %s (%d bytes)\n", bytesString(size), size)
	}
	if size != 0 && size < least.Bytes() {
		return c.resizeError(resize.ErrNoRoom, size, least.Bytes())
	}
	return nil
}

func (c *resizeCmd) resizeError(err error, size, least int64) error {
	return resizeError(c.Image, err, size, least)
}

// resizeError says what to do about an error of package resize.
func resizeError(path string, err error, size, least int64) error {
	switch {
	case errors.Is(err, ErrInterrupted):
		return ErrInterrupted
	case errors.Is(err, resize.ErrUnclean):
		return fmt.Errorf("image %s: %w; use it once (\"pinhole image info\" says more), or repair it with \"e2fsck -f %s\"", path, err, path)
	case errors.Is(err, resize.ErrNoRoom) && least > 0:
		return fmt.Errorf("image %s: %s is too small for what is in it; at least %d bytes (%s) are needed", path, bytesString(size), least, bytesString(least))
	}
	return fmt.Errorf("image %s: %w", path, err)
}

// openSound brings the image in f into a state that it can be resized from: nothing in its journal, no file
// without a name, and no damage. It returns its device and the size of its file system.
func openSound(ctx context.Context, path string, f *os.File) (dev *filedev.Device, size resize.Size, err error) {
	if err := tidy(path, f); err != nil {
		return nil, size, err
	}
	if dev, err = filedev.New(f); err != nil {
		return nil, size, err
	}
	if err := verify(ctx, path, dev, fmt.Sprintf("is damaged, and has to be repaired first, with \"e2fsck -f %s\"", path)); err != nil {
		return nil, size, err
	}
	if size, err = resize.SizeOf(dev); err != nil {
		return nil, size, resizeError(path, err, 0, 0)
	}
	return dev, size, nil
}

// growFile makes the image in f, which nobody else uses, and its file system larger, in one step that a crash
// does not leave half done. If the error wraps resize.ErrInPlace, it cannot be done so. The image is as it was
// unless the error says otherwise.
func growFile(ctx context.Context, path string, f *os.File, size int64) (err error) {
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("image %s: %w", path, err)
	}
	if size <= st.Size() {
		return resize.ErrInPlace
	}
	_, before, err := openSound(ctx, path, f)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && !errors.Is(err, errCommit) {
			f.Truncate(st.Size())
		}
	}()
	if err := f.Truncate(size); err != nil {
		return truncateError(path, err)
	}
	dev, err := filedev.New(f)
	if err != nil {
		return err
	}
	bar := newSteps("resizing")
	g, err := resize.Grow(dev, uint64(size/before.BlockSize), resize.Options{
		// What lies behind a file system that is smaller than its file can be anything.
		Zeroed: before.Bytes() >= st.Size(), Progress: bar.at, Stop: func() error { return stopped(ctx) },
	})
	bar.finish()
	if err != nil {
		return resizeError(path, err, 0, 0)
	}
	if err := verify(ctx, path, g.Device(), "would be damaged in its new size, which is a bug in Pinhole; it was left as it is"); err != nil {
		return err
	}
	if err := g.Commit(); err != nil {
		return fmt.Errorf("image %s: %w: %w; it has its old size, or its new one from the next use on", path, errCommit, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("image %s: %w: %w", path, errCommit, err)
	}
	return nil
}

// errCommit: the new size may be there already.
var errCommit = errors.New("cannot be written")

func truncateError(path string, err error) error {
	if errors.Is(err, unix.EFBIG) {
		err = errors.New("the host's file system has no files of such a size")
	}
	return fmt.Errorf("image %s: %w", path, err)
}

// resizeFile changes the size of the image in f, which nobody else uses, and of its file system; size 0
// makes it as small as can be. If it fails, f is of no use any more.
func resizeFile(ctx context.Context, path string, f *os.File, size int64) error {
	dev, before, err := openSound(ctx, path, f)
	if err != nil {
		return err
	}
	least, err := resize.Minimum(dev)
	if err != nil {
		return resizeError(path, err, 0, 0)
	}
	if size == 0 {
		size = least.Bytes()
	}
	size -= size % before.BlockSize
	blocks := uint64(size / before.BlockSize)
	if blocks < least.Blocks {
		return resizeError(path, resize.ErrNoRoom, size, least.Bytes())
	}
	// What is behind the file system reads as zeros from here on.
	for _, n := range []int64{before.Bytes(), max(before.Bytes(), size)} {
		if err := f.Truncate(n); err != nil {
			return truncateError(path, err)
		}
	}
	if dev, err = filedev.New(f); err != nil {
		return err
	}
	bar := newSteps("resizing")
	_, err = resize.Resize(dev, blocks, resize.Options{Zeroed: true, Progress: bar.at, Stop: func() error { return stopped(ctx) }})
	bar.finish()
	if err != nil {
		return resizeError(path, err, size, least.Bytes())
	}
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("image %s: %w", path, err)
	}
	if dev, err = filedev.New(f); err != nil {
		return err
	}
	return verify(ctx, path, dev, "would be damaged in its new size, which is a bug in Pinhole; it was left as it is")
}

// tidy replays the journal and deletes what has no names, if there is something to do.
func tidy(path string, f *os.File) error {
	s, err := superblock(f)
	if err != nil {
		return fmt.Errorf("image %s: is not an image: %w", path, err)
	}
	if !s.HasIncompat(disk.IncompatRecover) && s.LastOrphan == 0 && !s.HasROCompat(disk.ROCompatOrphanPresent) {
		return nil
	}
	im, err := mount(path, f, true)
	if err != nil {
		return err
	}
	if e := im.ns.Close(); e != 0 {
		return im.fail("", e)
	}
	return nil
}

// verify checks the file system on dev; what says what it is if something is found.
func verify(ctx context.Context, path string, dev blockdev.Device, what string) error {
	bar := newSteps("checking")
	defer bar.finish()
	r, err := check.Run(dev, check.Options{Context: ctx, Keep: 1, Progress: func(p check.Progress) { bar.at(p.Done, p.Total) }})
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", path, err)
	}
	if r.Clean() {
		return nil
	}
	for _, p := range r.Problems {
		what += ": " + p.String()
		break
	}
	return fmt.Errorf("image %s: %s", path, what)
}
