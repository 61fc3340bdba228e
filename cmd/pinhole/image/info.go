package image

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

type infoCmd struct {
	Image string `arg:"" help:"Image file."`
}

// Run implements the command.
func (c *infoCmd) Run() error {
	im, err := Open(c.Image, false)
	if err != nil {
		return err
	}
	defer im.Close()
	s, err := superblock(im.f)
	if err != nil {
		return fmt.Errorf("image %s: %w", c.Image, err)
	}
	st, err := im.f.Stat()
	if err != nil {
		return err
	}
	var fs vfs.StatFS
	if e := im.fs.StatFS(&fs); e != 0 {
		return im.fail("", e)
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s:\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("image", "%s", c.Image)
	size := fmt.Sprintf("%s (%d bytes)", bytesString(st.Size()), st.Size())
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		size += fmt.Sprintf(", on the host %s", bytesString(sys.Blocks*512))
	}
	row("size", "%s", size)
	if label := strings.TrimRight(string(s.VolumeName[:]), "\x00"); label != "" {
		row("label", "%s", printable(label))
	}
	row("uuid", "%s", uuidString(s.UUID))
	row("state", "%s", state(s))
	if what := im.incomplete(); what != "" {
		row("contents", "not complete: %s, did not end; do it again", what)
	}
	row("free", "%s of %s", bytesString(int64(fs.Bavail)*fs.Bsize), bytesString(int64(fs.Blocks)*fs.Bsize))
	// Of the inodes that are reserved, only the root directory's is a file.
	row("files", "%d, room for %d more", fs.Files-fs.Ffree-uint64(s.FirstIno)+2, fs.Ffree)
	row("blocks", "%d of %d bytes, groups of %d", s.BlocksCount, s.BlockSize(), s.BlocksPerGroup)
	row("inodes", "%d of %d bytes", s.InodesCount, s.InodeSize)
	features := []string{}
	for set, mask := range []uint32{s.FeatureCompat, s.FeatureIncompat, s.FeatureROCompat} {
		if names := disk.FeatureNames(disk.FeatureSet(set), mask); names != "" {
			features = append(features, names)
		}
	}
	row("features", "%s", strings.ReplaceAll(strings.Join(features, " "), ",", " "))
	row("made", "%s", timeString(s.MkfsTime))
	row("written", "%s", timeString(s.Wtime))
	row("checked", "%s", timeString(s.LastCheck))
	return t.Flush()
}

func superblock(f *os.File) (*disk.Superblock, error) {
	p := make([]byte, disk.SuperblockSize)
	if _, err := f.ReadAt(p, disk.SuperblockOffset); errors.Is(err, io.EOF) {
		return nil, errors.New("it is too small for a file system")
	} else if err != nil {
		return nil, err
	}
	s := new(disk.Superblock)
	return s, s.Decode(p)
}

// state says in words how the file system was left.
func state(s *disk.Superblock) string {
	var words []string
	switch {
	case s.HasIncompat(disk.IncompatRecover):
		words = append(words, "not cleanly unmounted; the journal mends it at the next use")
	case s.State&disk.StateValid == 0:
		words = append(words, "not cleanly unmounted; run e2fsck")
	default:
		words = append(words, "clean")
	}
	if s.State&disk.StateError != 0 || s.ErrorCount > 0 {
		words = append(words, fmt.Sprintf("damaged (%d errors found, the last on %s); run e2fsck", s.ErrorCount, timeString(s.LastErrorTime)))
	}
	if s.LastOrphan != 0 {
		words = append(words, "removed files were open")
	}
	return strings.Join(words, "; ")
}

func timeString(sec uint64) string {
	if sec == 0 {
		return "never"
	}
	return time.Unix(int64(sec), 0).Format("2006-01-02 15:04:05")
}

func uuidString(u [16]byte) string {
	h := hex.EncodeToString(u[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func bytesString(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, i := float64(n)/1024, 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + units[i:i+1]
}
