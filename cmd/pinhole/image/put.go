package image

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

type putCmd struct {
	Owner     string   `placeholder:"UID:GID" default:"0:0" help:"Whose the copies are (${default})."`
	KeepOwner bool     `help:"They belong to whom the files belong on the host."`
	Image     string   `arg:"" help:"Image file."`
	Path      []string `arg:"" help:"Files and directories of the host, then the place in the image: a directory (made, if a slash follows), or with a single file its new name."`
}

// Run implements the command.
func (c *putCmd) Run() error {
	if len(c.Path) < 2 {
		return fmt.Errorf("put: give the files to copy and, last, the place in the image: pinhole image put %s FILE... PLACE", c.Image)
	}
	own := owners{keep: c.KeepOwner}
	if n, err := fmt.Sscanf(c.Owner+"\n", "%d:%d\n", &own.uid, &own.gid); n != 2 || err != nil {
		return fmt.Errorf("--owner %q is not an owner; write UID:GID, in numbers", c.Owner)
	}
	sources, dst := c.Path[:len(c.Path)-1], c.Path[len(c.Path)-1]
	ctx, done := interruptible()
	defer done()
	var total int64
	for _, src := range sources {
		if _, err := os.Lstat(src); err != nil {
			return err
		}
		t, err := sizeOf(src)
		if err != nil {
			return err
		}
		total += t.bytes
	}
	im, err := Open(c.Image, true)
	if err != nil {
		return err
	}
	im.ctx = ctx
	bar := newProgress("copying", total)
	err = put(newWriter(im, bar), own, sources, dst)
	bar.finish()
	if closed := im.Close(); err == nil {
		err = closed
	}
	return err
}

func put(w *writer, own owners, sources []string, dst string) error {
	defer w.close()
	into := len(sources) > 1 || strings.HasSuffix(dst, "/")
	if !into {
		var a vfs.Attr
		e := w.im.ns.Stat(&w.im.root, nil, cleanPath(dst), 0, &a)
		into = e == 0 && a.Mode&abi.S_IFMT == abi.S_IFDIR
	}
	h := newHostCopy(w, own)
	defer h.close()
	for _, src := range sources {
		p := cleanPath(dst)
		if into {
			name, err := baseName(src)
			if err != nil {
				return err
			}
			p = path.Join(p, name)
		}
		pl, err := w.at(p, true)
		if err == nil {
			err = h.copy(src, pl)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// baseName is the name that a copy of src gets in a directory: also for "." and "..".
func baseName(src string) (string, error) {
	name := filepath.Base(src)
	if name == "." || name == ".." {
		abs, err := filepath.Abs(src)
		if err != nil {
			return "", err
		}
		name = filepath.Base(abs)
	}
	if name == "/" {
		return "", fmt.Errorf("%s: has no name; say where it goes, without a slash at the end", src)
	}
	return name, nil
}
