package image

import (
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

type xattrCmd struct {
	Set    []string `sep:"none" placeholder:"NAME=VALUE" help:"Set an attribute; VALUE is a text, or bytes as 0x0100."`
	Remove []string `sep:"none" placeholder:"NAME" help:"Remove an attribute."`
	Image  string   `arg:"" help:"Image file."`
	Path   []string `arg:"" help:"Files in the image; links are not followed."`
}

// Help is the long text of --help.
func (xattrCmd) Help() string {
	return `Without flags, the extended attributes of the files are listed.

  pinhole image xattr app.img /bin/ping
  pinhole image xattr app.img --set user.note=mine /etc/motd`
}

// Run implements the command.
func (c *xattrCmd) Run() error {
	if len(c.Set)+len(c.Remove) == 0 {
		return c.list()
	}
	values := make([][2]string, 0, len(c.Set))
	for _, s := range c.Set {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return fmt.Errorf("--set %q: write NAME=VALUE", s)
		}
		if digits, ok := strings.CutPrefix(value, "0x"); ok {
			raw, err := hex.DecodeString(digits)
			if err != nil {
				return fmt.Errorf("--set %q: behind 0x are bytes, of two hexadecimal digits each", s)
			}
			value = string(raw)
		}
		values = append(values, [2]string{name, value})
	}
	return edit(c.Image, func(w *writer) error {
		for _, p := range c.Path {
			_, d, err := w.existing(p)
			if err != nil {
				return err
			}
			err = c.change(w.im, p, d, values)
			d.Unref()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *xattrCmd) change(im *Image, p string, d *vfs.Dentry, values [][2]string) error {
	x, ok := d.Node().(vfs.XattrNode)
	if !ok {
		return im.fail(p, abi.EOPNOTSUPP)
	}
	fail := func(name string, e abi.Errno) error {
		switch e {
		case abi.EOPNOTSUPP:
			return im.failWith(p, fmt.Errorf("attribute %s: there are only names that begin with user., trusted., security. and the like", printable(name)))
		case abi.ENODATA:
			return im.failWith(p, fmt.Errorf("has no attribute %s", printable(name)))
		}
		return im.failWith(p, attributeError{name, e})
	}
	for _, v := range values {
		if e := x.Setxattr(v[0], []byte(v[1]), 0); e != 0 {
			return fail(v[0], e)
		}
	}
	for _, name := range c.Remove {
		if e := x.Removexattr(name); e != 0 {
			return fail(name, e)
		}
	}
	return nil
}

func (c *xattrCmd) list() error {
	im, err := Open(c.Image, false)
	if err != nil {
		return err
	}
	defer im.Close()
	for _, p := range c.Path {
		d, _, err := im.walk(p, false)
		if err != nil {
			return err
		}
		all, err := im.xattrs(d, p)
		d.Unref()
		if err != nil {
			return err
		}
		names := make([]string, 0, len(all))
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if _, err := fmt.Fprintf(os.Stdout, "%s: %s=%s\n", printable(p), printable(name), xattrText(all[name])); err != nil {
				return err
			}
		}
	}
	return nil
}

// xattrText shows a value as --set takes it.
func xattrText(v string) string {
	for _, r := range v {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return "0x" + hex.EncodeToString([]byte(v))
		}
	}
	if strings.HasPrefix(v, "0x") {
		return "0x" + hex.EncodeToString([]byte(v))
	}
	return v
}
