package image

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"pinhole/abi"
	"pinhole/cmd/pinhole/image/oci"
	"pinhole/cmd/pinhole/units"
	"pinhole/fs/vfs"
)

// defaultPlatform is what a sandbox runs.
const defaultPlatform = "linux/amd64"

type importCmd struct {
	Size     autoSize `short:"s" placeholder:"SIZE" help:"Size of the image that is made if there is none: 64M, 2G; auto: what the files need and as much again. (auto)"`
	To       string   `placeholder:"DIR" default:"/" help:"Directory in the image that the files go into; made if it is missing (${default})."`
	Ref      string   `placeholder:"NAME" help:"Which container image, if SOURCE holds several: its name or tag."`
	Platform string   `placeholder:"OS/ARCH" default:"linux/amd64" help:"For what the container image is to be (${default})."`
	Config   string   `placeholder:"FILE" help:"Write the container image's configuration there: what to run and how, as JSON."`
	Plain    bool     `help:"Take a directory or an archive as it is, even if it holds a container image."`
	Layer    bool     `help:"SOURCE is one layer of a container image: a file .wh.NAME in it takes NAME away."`
	Quiet    bool     `short:"q" help:"Only say what is wrong."`
	Image    string   `arg:"" help:"Image file; made if it is missing."`
	Source   string   `arg:"" help:"Directory; tar archive (also of gzip, bzip2, xz or zstd); container image, as an OCI image layout or as docker save makes it; or - for an archive from standard input."`
}

// Help is the long text of --help.
func (importCmd) Help() string {
	return `Owners, modes, times, links, devices, holes and extended attributes come along. Nothing outside of the
image is ever followed or written, whatever SOURCE says. Layers of a container image are put one over the
other; digests are verified first.

What is in an existing image stays, unless SOURCE has something of the same name. If the import ends before
it is complete, a new image is not made; an existing one is in order, but has only a part of the files, and
"pinhole image info" says so until an import is complete.

  pinhole image import app.img rootfs/                     a directory
  docker save alpine | pinhole image import app.img -      a container image
  pinhole image import --to /srv app.img site.tar.zst      into a directory`
}

// autoSize is a size, or 0 for "auto".
type autoSize int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *autoSize) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*s = 0
		return nil
	}
	var n units.Size
	if err := n.UnmarshalText(text); err != nil {
		return err
	}
	if n < leastSize {
		return fmt.Errorf("%d is too small for an image; it takes at least 1M", int64(n))
	}
	*s = autoSize(n)
	return nil
}

// Run implements the command.
func (c *importCmd) Run() error {
	ctx, done := interruptible()
	defer done()
	// The cache is most of what is in memory, and stays: no need for as much again before a collection.
	defer debug.SetGCPercent(debug.SetGCPercent(40))
	if !strings.Contains(c.Platform, "/") && c.Platform != "" {
		return fmt.Errorf("--platform %q is no platform; write linux/amd64", c.Platform)
	}
	to := cleanPath(c.To)
	_, err := os.Stat(c.Image)
	make := errors.Is(err, os.ErrNotExist)
	if !make && c.Size != 0 {
		return fmt.Errorf("image %s: is there already, --size is for a new one; change its size with \"pinhole image resize\"", c.Image)
	}
	var im *Image
	if !make {
		// First of all: what is in use, or no image, need not be read for.
		if im, err = Open(c.Image, true); err != nil {
			return err
		}
		im.ctx = ctx
	}
	src, err := openSourceWith(ctx, c.Source, sourceOptions{Choice: oci.Choice{Ref: c.Ref, Platform: c.Platform}, plain: c.Plain, layer: c.Layer})
	if err == nil {
		defer src.close()
		if c.Config != "" && src.kind != sourceImage {
			err = fmt.Errorf("--config: %s is no container image, but a %s", src.path, src.kind)
		}
	}
	if err == nil {
		if make {
			err = c.make(src, to)
		} else {
			err = c.add(im, src, to)
		}
	}
	if im != nil {
		if e := im.Close(); err == nil {
			err = e
		}
	}
	if err == nil && c.Config != "" {
		err = os.WriteFile(c.Config, src.image.RawConfig, 0o666)
	}
	if err != nil || c.Quiet {
		return err
	}
	c.report(src)
	return nil
}

func (c *importCmd) warn(path, what string) {
	if path != "" {
		path += ": "
	}
	fmt.Fprintf(os.Stderr, "pinhole: image %s: %s%s\n", c.Image, path, what)
}

// make makes a new image of the source. Unless all goes well, there is none.
func (c *importCmd) make(src *source, to string) error {
	t, err := newTarget(c.Image, false)
	if err != nil {
		return err
	}
	defer t.abandon()
	size := int64(c.Size)
	if size == 0 {
		size = max(src.needs(), defaultSize)
	}
	if err := format(t.f, size, (&createCmd{BlockSize: 4096}).options(src)); err != nil {
		return fmt.Errorf("image %s: %w", c.Image, err)
	}
	im, err := mountNew(c.Image, t.f)
	if err != nil {
		return err
	}
	im.ctx = src.ctx
	err = src.into(im, to, c.warn)
	if e := im.ns.Close(); e != 0 && err == nil {
		err = im.fail("", e)
	}
	if errors.Is(err, abi.ENOSPC) && c.Size != 0 {
		err = fmt.Errorf("image %s: --size %s is not enough for %s; use a larger one, or auto", c.Image, units.Format(size), src.path)
	}
	if err != nil {
		return err
	}
	return t.commit()
}

// incompleteMark is an attribute of the root directory of an image whose import did not end. Its value
// says of what, and since when.
const incompleteMark = "trusted.pinhole.incomplete"

// add puts the source into an image that is there.
func (c *importCmd) add(im *Image, src *source, to string) error {
	root, _, err := im.walk("/", true)
	if err != nil {
		return err
	}
	defer root.Unref()
	x, marks := root.Node().(vfs.XattrNode)
	if marks {
		mark := fmt.Sprintf("the import of %s, begun on %s", src.path, time.Now().Format("2006-01-02 15:04:05"))
		e := x.Setxattr(incompleteMark, []byte(mark[:min(len(mark), 500)]), 0)
		switch e {
		case 0:
			// On the disk before anything else is.
			e = im.fs.Sync()
		case abi.EOPNOTSUPP, abi.ENOSPC:
			marks, e = false, 0
		}
		if e != 0 {
			return im.fail("", e)
		}
	}
	if err := src.into(im, to, c.warn); err != nil {
		return fmt.Errorf("%w (the import is not complete; the image has a part of it)", err)
	}
	if marks {
		if e := im.fs.Sync(); e != 0 {
			return im.fail("", e)
		}
		if e := x.Removexattr(incompleteMark); e != 0 && e != abi.ENODATA {
			return im.fail("", e)
		}
	}
	return nil
}

// incomplete returns what the mark says; "" if there is none.
func (im *Image) incomplete() string {
	root, _, err := im.walk("/", true)
	if err != nil {
		return ""
	}
	defer root.Unref()
	x, ok := root.Node().(vfs.XattrNode)
	if !ok {
		return ""
	}
	v, e := x.Getxattr(incompleteMark)
	if e != 0 {
		return ""
	}
	return printable(string(v))
}

// report says what was imported, and how a container image wants to be run.
func (c *importCmd) report(src *source) {
	line := func(name, format string, args ...any) {
		fmt.Printf("%-12s%s\n", name+":", fmt.Sprintf(format, args...))
	}
	what := src.path
	if im := src.image; im != nil {
		layers := "1 layer"
		if n := len(im.Layers); n != 1 {
			layers = fmt.Sprintf("%d layers", n)
		}
		if im.Ref != "" {
			what = printable(im.Ref) + " of " + what
		}
		what += fmt.Sprintf(" (%s, %s)", printable(im.Platform), layers)
	}
	line("imported", "%s", what)
	if src.files > 0 {
		line("files", "%d, %s", src.files, units.Format(src.bytes))
	}
	if src.image == nil {
		return
	}
	conf := &src.image.Config
	if run := append(conf.Entrypoint[:len(conf.Entrypoint):len(conf.Entrypoint)], conf.Cmd...); len(run) > 0 {
		for i, arg := range run {
			run[i] = shellWord(arg)
		}
		line("runs", "%s", strings.Join(run, " "))
	}
	if conf.WorkingDir != "" {
		line("in", "%s", printable(conf.WorkingDir))
	}
	if conf.User != "" {
		line("as", "%s", printable(conf.User))
	}
	for _, env := range conf.Env {
		line("environment", "%s", printable(env))
	}
}

// shellWord quotes an argument if a shell would take it for something else.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+:,./@%") == "" {
		return s
	}
	if printable(s) != s {
		return "$" + "'" + strings.ReplaceAll(strings.Trim(strconv.Quote(s), `"`), "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
