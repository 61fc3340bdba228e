package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
)

// source is where the files of a new image come from.
type source struct {
	kind  sourceKind
	path  string
	f     *os.File
	tar   *tar.Reader
	bytes int64 // that they take; 0: not known
	files int64
}

type sourceKind uint8

const (
	sourceNone sourceKind = iota
	sourceDir
	sourceTar
)

// openSource looks at what --from names.
func openSource(from string) (*source, error) {
	s := &source{path: from}
	if from == "" {
		return s, nil
	}
	if from == "-" {
		s.kind, s.path = sourceTar, "standard input"
		var err error
		if s.tar, err = unpack(os.Stdin); err != nil {
			return nil, fmt.Errorf("%s: %w", s.path, err)
		}
		return s, nil
	}
	st, err := os.Stat(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("--from %s: no such file or directory", from)
	}
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	if st.IsDir() {
		s.kind = sourceDir
		if s.bytes, s.files, err = sizeOf(from); err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		return s, nil
	}
	s.kind = sourceTar
	if s.f, err = os.Open(from); err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	if st.Mode().IsRegular() {
		// Twice: first to learn how much it is.
		r, err := unpack(s.f)
		if err == nil {
			if s.bytes, s.files, err = sizeOfTar(r); err == nil {
				_, err = s.f.Seek(0, io.SeekStart)
			}
		}
		if err != nil {
			s.f.Close()
			return nil, fmt.Errorf("--from %s: %w", from, err)
		}
	}
	if s.tar, err = unpack(s.f); err != nil {
		s.f.Close()
		return nil, fmt.Errorf("--from %s: %w", from, err)
	}
	return s, nil
}

func (s *source) close() {
	if s.f != nil {
		s.f.Close()
	}
}

// needs returns a size for the image that leaves as much free as the files take.
func (s *source) needs() int64 {
	const unit = 16 << 20
	return (2*s.bytes + s.files*512 + s.bytes/16 + unit) &^ (unit - 1)
}

// fill puts the files into the new image in f.
func (s *source) fill(path string, f *os.File) error {
	im, err := mount(path, f, true)
	if err != nil {
		return err
	}
	total := s.bytes
	if total == 0 {
		total = -1
	}
	bar := newProgress("copying", total)
	w := newWriter(im, bar)
	if s.kind == sourceDir {
		err = newHostCopy(w, owners{keep: true}).copy(s.path, "/")
	} else {
		err = at(s.path, w.copyTar(s.tar))
	}
	if err == nil {
		err = w.closeDirs()
	}
	bar.finish()
	if e := im.ns.Close(); e != 0 && err == nil {
		err = im.fail("", e)
	}
	return err
}
