package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"pinhole/cmd/pinhole/image/oci"
	"pinhole/cmd/pinhole/image/tarfile"
	"pinhole/cmd/pinhole/image/unpack"
)

// source is where files for an image come from.
type source struct {
	kind  sourceKind
	path  string
	ctx   context.Context
	bytes int64 // of the files; 0: not known
	files int64
	room  int64 // that they will take

	f      *os.File  // an archive that can be read again and again
	once   io.Reader // an archive, unpacked, that can be read once
	closer []io.Closer
	store  oci.Store
	image  *oci.Image
	layers []whiteouts // of the image, by layer
	layer  bool        // an archive is a layer, too
}

type sourceKind uint8

const (
	sourceNone sourceKind = iota
	sourceDir
	sourceTar
	sourceImage
)

func (k sourceKind) String() string {
	return [...]string{"nothing", "directory", "archive", "container image"}[k]
}

// sourceOptions say how a source is to be taken.
type sourceOptions struct {
	flag string // that named it, for messages
	oci.Choice
	// plain takes a directory or an archive as it is, even if it holds a container image.
	plain bool
	// layer takes an archive as a layer, with names in it that take files away.
	layer bool
}

// openSource looks at what create --from names.
func openSource(from string) (*source, error) {
	return openSourceWith(context.Background(), from, sourceOptions{flag: "--from", Choice: oci.Choice{Platform: defaultPlatform}})
}

// openSourceWith finds out what a source is, and how much there is in it, if it can be read twice.
func openSourceWith(ctx context.Context, from string, o sourceOptions) (*source, error) {
	s := &source{path: from, ctx: ctx, layer: o.layer}
	if from == "" {
		return s, nil
	}
	named := func(err error) error {
		if err == nil || err == ErrInterrupted {
			return err
		}
		s.close()
		var p *fs.PathError
		if errors.As(err, &p) && p.Path == from {
			err = p.Err
		}
		if o.flag != "" {
			return fmt.Errorf("%s %s: %w", o.flag, s.path, err)
		}
		return fmt.Errorf("%s: %w", s.path, err)
	}
	if from == "-" {
		s.path = "standard input"
		return s, named(s.openFile(os.Stdin, o))
	}
	st, err := os.Stat(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil, named(errors.New("no such file or directory"))
	}
	if err != nil {
		return nil, named(err)
	}
	if st.IsDir() {
		return s, named(s.openDir(from, o))
	}
	f, err := os.Open(from)
	if err != nil {
		return nil, named(err)
	}
	s.closer = append(s.closer, f)
	return s, named(s.openFile(f, o))
}

func (s *source) openDir(dir string, o sourceOptions) error {
	if !o.plain {
		store, err := oci.OpenDir(dir)
		if err != nil {
			return err
		}
		s.closer = append(s.closer, store)
		s.closer = append(s.closer, store)
		s.store = store
		if oci.Recognize(store) != oci.None {
			return s.openImage(o)
		}
	}
	s.kind = sourceDir
	t, err := sizeOf(dir)
	s.bytes, s.files, s.room = t.bytes, t.files, t.room
	return err
}

// openFile looks at an archive, which may be compressed, hold a container image, and be a pipe.
func (s *source) openFile(f *os.File, o sourceOptions) error {
	s.kind = sourceTar
	size, again := int64(0), false
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
		if pos, err := f.Seek(0, io.SeekCurrent); err == nil && pos == 0 {
			size, again = st.Size(), true
		}
	}
	var raw io.Reader = f
	if !again {
		raw = newReadAhead(s.ctx, f)
	}
	stream, format, err := unpack.NewReader(raw)
	if err != nil {
		return err
	}
	s.closer = append(s.closer, stream)
	if again {
		s.f = f
	}
	first := &peeker{r: stream}
	maybe := !o.plain && oci.MayHold(first.name())
	switch {
	case !maybe && !s.layer && !again:
		s.once = first
		if format != unpack.Plain {
			s.once = newReadAhead(s.ctx, first)
		}
		return nil
	case !maybe && again:
		return s.scanTar()
	case maybe && again && format == unpack.Plain:
		return s.openArchive(f, size, o)
	}
	// To be read back and forth, it has to be in a file.
	s.f, size, err = spool(s.ctx, first)
	if err != nil {
		return err
	}
	s.closer = append(s.closer, s.f)
	if maybe {
		return s.openArchive(s.f, size, o)
	}
	return s.scanTar()
}

// openArchive takes an uncompressed archive in a file as a container image, or, if it is none, as it is.
func (s *source) openArchive(f *os.File, size int64, o sourceOptions) error {
	store, err := oci.OpenTar(f, size)
	if err != nil {
		return err
	}
	if oci.Recognize(store) == oci.None {
		return s.scanTar()
	}
	s.store = store
	return s.openImage(o)
}

// scanTar reads an archive to learn how much it is.
func (s *source) scanTar() error {
	r, done, err := s.tarStream()
	if err != nil {
		return err
	}
	defer done()
	var t tally
	gone := make([]whiteouts, 1)
	err = scan(tarfile.NewReader(r), s.layer, &t, &gone[0], s.stop)
	s.layers = gone
	s.bytes, s.files, s.room = t.bytes, t.files, t.room
	return notTar(err, t.files)
}

func (s *source) stop() error { return stopped(s.ctx) }

// notTar tells a file that is no archive at all from a damaged one.
func notTar(err error, entries int64) error {
	var f *tarfile.FormatError
	if entries == 0 && errors.As(err, &f) {
		return errors.New("is not a tar archive, nor a container image or directory")
	}
	return err
}

// tarStream returns the archive, unpacked, from its beginning.
func (s *source) tarStream() (io.Reader, func(), error) {
	if s.once != nil {
		return s.once, func() {}, nil
	}
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	stream, format, err := unpack.NewReader(s.f)
	if err != nil {
		return nil, nil, err
	}
	if format == unpack.Plain {
		// Unbuffered, so that it can be passed over by seeking.
		_, err = s.f.Seek(0, io.SeekStart)
		return s.f, func() {}, err
	}
	ctx, cancel := context.WithCancel(s.ctx)
	return newReadAhead(ctx, stream), func() { cancel(); stream.Close() }, nil
}

func (s *source) openImage(o sourceOptions) error {
	s.kind = sourceImage
	im, err := oci.Open(s.store, o.Choice)
	if err != nil {
		return err
	}
	s.image = im
	var t tally
	s.layers = make([]whiteouts, len(im.Layers))
	for i := range im.Layers {
		l := &im.Layers[i]
		stream, err := l.Open()
		if err != nil {
			return err
		}
		// To the end, which verifies it: nothing of an image is unpacked before all of it is known to be right.
		ctx, cancel := context.WithCancel(s.ctx)
		err = scan(tarfile.NewReader(newReadAhead(ctx, stream)), true, &t, &s.layers[i], s.stop)
		cancel()
		stream.Close()
		if err != nil {
			// What is not what it should be need not make sense in other ways.
			var m *oci.MismatchError
			if errors.As(err, &m) || err != ErrInterrupted && errors.As(l.Verify(), &m) {
				return m
			}
			return at(l.What, err)
		}
	}
	s.bytes, s.files, s.room = t.bytes, t.files, t.room
	return nil
}

func (s *source) close() {
	for i := len(s.closer) - 1; i >= 0; i-- {
		s.closer[i].Close()
	}
	s.closer = nil
}

// needs returns a size for a new image that leaves as much free as the files take.
func (s *source) needs() int64 {
	const unit = 16 << 20
	if s.room > math.MaxInt64/4 {
		return math.MaxInt64 / 2 // more than can be made, which says so
	}
	return (2*s.room + s.files*512 + s.room/16 + unit) &^ (unit - 1)
}

// fill puts the files into the new image in f.
func (s *source) fill(path string, f *os.File) error {
	im, err := mountNew(path, f)
	if err != nil {
		return err
	}
	im.ctx = s.ctx
	err = s.into(im, "/", nil)
	if e := im.ns.Close(); e != 0 && err == nil {
		err = im.fail("", e)
	}
	return err
}

// into puts the files into a directory of an image.
func (s *source) into(im *Image, dir string, warn func(path, what string)) error {
	total := s.bytes
	if total == 0 {
		total = -1
	}
	bar := newProgress("copying", total)
	defer bar.finish()
	w := newWriter(im, bar)
	defer w.close()
	w.replace = true
	if warn != nil {
		w.warn = func(path, what string) {
			bar.finish()
			warn(path, what)
		}
	}
	if dir != "/" {
		// What it calls the root is this directory, for its links, too.
		if err := w.mkdirs(dir); err != nil {
			return err
		}
		d, _, err := im.walk(dir, true)
		if err != nil {
			return err
		}
		w.forget()
		im.root.Root = d
		defer func() {
			w.forget()
			im.root.Root = nil
			d.Unref()
		}()
	}
	switch s.kind {
	case sourceDir:
		pl, err := w.at("/", false)
		if err != nil {
			return err
		}
		h := newHostCopy(w, owners{keep: true})
		defer h.close()
		return h.copyDir(s.path, pl)
	case sourceImage:
		w.keepTimes, w.only = true, true
		for i := range s.image.Layers {
			if err := s.intoLayer(w, i); err != nil {
				return err
			}
		}
		return nil
	}
	w.keepTimes = true
	if s.layer {
		if err := w.applyWhiteouts(&s.layers[0]); err != nil {
			return at(s.path, err)
		}
	}
	r, done, err := s.tarStream()
	if err != nil {
		return at(s.path, err)
	}
	defer done()
	t := tarfile.NewReader(r)
	err = w.unpackTar(t, s.layer)
	if t.Entries() == 0 {
		err = notTar(err, 0)
	}
	return at(s.path, err)
}

func (s *source) intoLayer(w *writer, i int) error {
	l := &s.image.Layers[i]
	if err := w.applyWhiteouts(&s.layers[i]); err != nil {
		return at(l.What, err)
	}
	stream, err := l.Open()
	if err != nil {
		return err
	}
	defer stream.Close()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	return at(l.What, w.unpackTar(tarfile.NewReader(newReadAhead(ctx, stream)), true))
}
