package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"pinhole/cmd/pinhole/units"
)

type snapshotCmd struct {
	Restore bool   `xor:"what" help:"Make the image what it was when the snapshot NAME was taken."`
	Delete  bool   `xor:"what" help:"Delete the snapshot NAME."`
	Image   string `arg:"" help:"Image file; not in use by a sandbox that may write to it."`
	Name    string `arg:"" optional:"" help:"Name of the snapshot. Without it, the snapshots are listed."`
}

// Help is the long text of --help.
func (snapshotCmd) Help() string {
	return `A snapshot is a copy of the image beside it, IMAGE@NAME, that cannot be written. Where the host's file
system can share the blocks of files (btrfs, XFS, bcachefs), it takes no time, and room only for what changes
afterwards; elsewhere as much as is in use in the image. Restoring replaces the image at once and as a whole.

  pinhole image snapshot app.img before-upgrade
  pinhole image snapshot app.img
  pinhole image snapshot --restore app.img before-upgrade`
}

// snapshotMark is between the name of the image and that of the snapshot.
const snapshotMark = "@"

// Run implements the command.
func (c *snapshotCmd) Run() error {
	if c.Name == "" {
		if c.Restore || c.Delete {
			return errors.New("snapshot: say which one; without a NAME they are listed")
		}
		return c.list()
	}
	if strings.ContainsAny(c.Name, "/\x00\n") || len(c.Name) > 100 {
		return fmt.Errorf("snapshot %q: cannot be called so; take a short name without a slash", c.Name)
	}
	path := c.Image + snapshotMark + c.Name
	if c.Delete {
		return c.remove(path)
	}
	ctx, done := interruptible()
	defer done()
	if c.Restore {
		return c.restore(ctx, path)
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("snapshot %s of %s: is there already; use another name, or delete it first", c.Name, c.Image)
	}
	src, err := openLocked(c.Image, false)
	if err != nil {
		return err
	}
	defer src.Close()
	return cloneTo(ctx, src, path, false, func(f *os.File) error {
		if err := checkImage(c.Image, f); err != nil {
			return err
		}
		return f.Chmod(0o444)
	})
}

// missing says that a snapshot is not there, and which are.
func (c *snapshotCmd) missing(err error) error {
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("snapshot %s of %s: %w", c.Name, c.Image, err)
	}
	have := "there are none"
	if all, err := c.snapshots(); err == nil && len(all) > 0 {
		have = "there are " + strings.Join(all, ", ")
	}
	return fmt.Errorf("image %s: has no snapshot %s; %s", c.Image, c.Name, have)
}

func (c *snapshotCmd) remove(path string) error {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return c.missing(errors.Join(err, os.ErrNotExist))
	}
	f, err := openLocked(path, false)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.Remove(path)
}

func (c *snapshotCmd) restore(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); err != nil {
		return c.missing(err)
	}
	snap, err := openLocked(path, false)
	if err != nil {
		return err
	}
	defer snap.Close()
	if err := checkImage(path, snap); err != nil {
		return err
	}
	old, err := openLocked(c.Image, true)
	if err != nil {
		return err
	}
	defer old.Close()
	t, err := replacement(old)
	if err != nil {
		return err
	}
	defer t.abandon()
	if err := copyFile(ctx, t.f, snap); err != nil {
		return copyError(c.Image, err)
	}
	return t.commit()
}

// snapshots returns the names of the image's snapshots, sorted.
func (c *snapshotCmd) snapshots() ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(c.Image))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name(), filepath.Base(c.Image)+snapshotMark); ok && name != "" && e.Type().IsRegular() {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all, nil
}

func (c *snapshotCmd) list() error {
	if _, err := os.Stat(c.Image); err != nil {
		return fmt.Errorf("image %s: no such file; make one with \"pinhole image create %s\"", c.Image, c.Image)
	}
	all, err := c.snapshots()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Printf("%s has no snapshots\n", c.Image)
		return nil
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "name\ttaken\tsize\ton the host")
	for _, name := range all {
		path := c.Image + snapshotMark + name
		st, err := os.Stat(path)
		if err != nil {
			continue // deleted meanwhile
		}
		// A snapshot is not written, so the time of its last change is that of its making.
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", printable(name), st.ModTime().Format(time.DateTime), units.Format(st.Size()), hostSize(path))
	}
	return t.Flush()
}
