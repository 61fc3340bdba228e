package oci

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"pinhole/cmd/pinhole/image/tarfile"
)

// Store is the files of an image: a directory, or a tar archive.
type Store interface {
	// Open opens the file at a path that is relative, with slashes. fs.ErrNotExist.
	Open(name string) (File, error)
	Close() error
}

// File is an open file of a store. It can be read from front to end, once.
type File struct {
	io.ReadCloser
	Size int64
}

// OpenDir returns the files below a directory. Links that lead out of it are not followed.
func OpenDir(dir string) (Store, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return dirStore{root}, nil
}

type dirStore struct{ root *os.Root }

func (d dirStore) Close() error { return d.root.Close() }

func (d dirStore) Open(name string) (File, error) {
	st, err := d.root.Stat(name)
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: is not a regular file", name)
	}
	if err != nil {
		return File{}, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return File{}, err
	}
	if st, err = f.Stat(); err != nil {
		f.Close()
		return File{}, err
	}
	return File{f, st.Size()}, nil
}

// maxFiles bounds the files of an archive that holds an image, which has one or two for each layer.
const maxFiles = 100_000

// OpenTar returns the files of an archive, which is not compressed and stays the caller's to close. It
// reads the headers only.
func OpenTar(r io.ReaderAt, size int64) (Store, error) {
	s := &tarStore{r: r, files: make(map[string]place)}
	t := tarfile.NewReader(io.NewSectionReader(r, 0, size))
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		if n >= maxFiles {
			return nil, fmt.Errorf("the archive has more than %d files, which no image has", maxFiles)
		}
		name := clean(h.Name)
		switch {
		case h.Type == tarfile.Regular && h.Sparse == nil:
			s.files[name] = place{off: t.Offset(), size: h.Size}
		case h.Type == tarfile.Symlink:
			s.files[name] = place{link: clean(path.Join(path.Dir(name), h.Linkname))}
		case h.Type == tarfile.Hardlink:
			s.files[name] = place{link: clean(h.Linkname)}
		}
	}
}

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

type tarStore struct {
	r     io.ReaderAt
	files map[string]place
}

// place is where a file is in the archive, or, if link is set, another name of it.
type place struct {
	off, size int64
	link      string
}

func (s *tarStore) Close() error { return nil }

func (s *tarStore) Open(name string) (File, error) {
	p, ok := s.files[clean(name)]
	for range 10 {
		if !ok || p.link == "" {
			break
		}
		p, ok = s.files[p.link]
	}
	if !ok || p.link != "" {
		return File{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return File{io.NopCloser(io.NewSectionReader(s.r, p.off, p.size)), p.size}, nil
}

// has tells whether a file is there.
func has(s Store, name string) bool {
	f, err := s.Open(name)
	if err == nil {
		f.Close()
	}
	return err == nil
}

// maxJSON bounds documents, as registries do.
const maxJSON = 4 << 20

// readAll reads a document.
func readAll(s Store, name string) ([]byte, error) {
	f, err := s.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size > maxJSON {
		return nil, fmt.Errorf("%s has %d bytes, which is too much", name, f.Size)
	}
	p := make([]byte, f.Size)
	if _, err := io.ReadFull(f, p); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}
