package tarfile

import (
	"errors"
	"io"
	"maps"
	"strconv"
	"strings"
)

// Reader reads an archive from front to end. It is for one goroutine.
type Reader struct {
	in      *input
	start   int64 // of the entry's first header
	name    string
	left    int64 // data of the entry that have not been read
	pad     int64
	global  map[string]string
	err     error
	marked  bool
	entries int64
}

// NewReader returns a reader of the archive in r. It reads ahead, and seeks to pass over data if r can.
func NewReader(r io.Reader) *Reader { return &Reader{in: newInput(r)} }

// Marked tells, after Next has returned io.EOF, whether the archive had its end mark. One that has not may
// have been cut short between two entries.
func (r *Reader) Marked() bool { return r.marked }

// Offset returns where in the archive the next byte of data is.
func (r *Reader) Offset() int64 { return r.in.off }

// Entries returns how many entries Next has returned.
func (r *Reader) Entries() int64 { return r.entries }

// Drain reads what is behind the end mark, which is padding.
func (r *Reader) Drain() error {
	for {
		if _, err := r.in.Read(discard[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func (r *Reader) bad(what string) error {
	return &FormatError{Off: r.start, Name: r.name, What: what}
}

// Next goes to the next entry and returns it; io.EOF behind the last. Errors of the archive's format are
// FormatErrors, and that it ends in the middle of an entry is io.ErrUnexpectedEOF; others are of what is
// read from. After an error there is nothing more.
func (r *Reader) Next() (*Header, error) {
	if r.err != nil {
		return nil, r.err
	}
	h, err := r.next()
	if err != nil {
		if err == io.ErrUnexpectedEOF { // and not what the stream itself says of it
			err = r.cut()
		}
		r.err = err
		return nil, err
	}
	r.entries++
	return h, nil
}

// cut is the error of an archive that ends too early.
func (r *Reader) cut() error {
	return &cutError{FormatError{Off: r.start, Name: r.name, What: "it ends in the middle of this entry; it was cut short"}}
}

// cutError is also io.ErrUnexpectedEOF.
type cutError struct{ f FormatError }

func (e *cutError) Error() string { return e.f.Error() }
func (e *cutError) Unwrap() error { return io.ErrUnexpectedEOF }
func (e *cutError) As(target any) bool {
	if t, ok := target.(**FormatError); ok {
		*t = &e.f
		return true
	}
	return false
}

func (r *Reader) next() (*Header, error) {
	if err := r.in.skip(r.left + r.pad); err != nil {
		return nil, err
	}
	r.left, r.pad = 0, 0
	r.start, r.name = r.in.off, ""
	var longName, longLink string
	var local map[string]string
	for extended := false; ; extended = true {
		b, err := r.header(extended)
		if err != nil {
			return nil, err
		}
		size, ok := num(b.bytes(fSize))
		if !ok || size < 0 {
			return nil, r.bad("header with a size that cannot be")
		}
		switch typ := b[fType.off]; typ {
		case paxLocal, paxSolaris, paxGlobal:
			text, err := r.text(size)
			if err != nil {
				return nil, err
			}
			m := local
			if typ == paxGlobal {
				if r.global == nil {
					r.global = make(map[string]string)
				}
				m = r.global
			} else if m == nil {
				m = make(map[string]string)
				local = m
			}
			if err := parsePAX(text, m); err != nil {
				return nil, r.bad(err.Error())
			}
			if total := mapBytes(m); total > maxExtended {
				return nil, r.bad("extended headers of " + strconv.Itoa(total) + " bytes, which is too much")
			}
		case gnuLongName, gnuLongLink:
			text, err := r.text(size)
			if err != nil {
				return nil, err
			}
			text, _, _ = strings.Cut(text, "\x00")
			if typ == gnuLongName {
				longName = text
			} else {
				longLink = text
			}
		case gnuVolume:
			if err := r.in.skip(padded(size)); err != nil {
				return nil, err
			}
		default:
			return r.entry(b, size, longName, longLink, local)
		}
	}
}

func mapBytes(m map[string]string) int {
	n := 0
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

func padded(n int64) int64 {
	if n > 1<<63-1-BlockSize {
		return 1<<63 - 1
	}
	return (n + BlockSize - 1) &^ (BlockSize - 1)
}

// header reads a header block. extended: one has to come.
func (r *Reader) header(extended bool) (*block, error) {
	var b block
	err := r.in.full(b[:])
	if err == io.EOF && extended {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if b.isZero() {
		if extended {
			return nil, r.bad("extended header without an entry")
		}
		// The end mark is two of these; what has only one ends all the same.
		if err := r.in.full(b[:]); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		} else if err == nil && !b.isZero() {
			return nil, r.bad("a block of zeros between entries")
		}
		r.marked = true
		return nil, io.EOF
	}
	sum, ok := num(b.bytes(fChecksum))
	unsigned, signed := b.checksums()
	if !ok || sum != unsigned && sum != signed {
		what := "header with a wrong checksum"
		if r.entries == 0 && !extended {
			what = "it does not start with a header"
		}
		return nil, r.bad(what)
	}
	return &b, nil
}

// text reads the data of an extended header.
func (r *Reader) text(size int64) (string, error) {
	if size > maxExtended {
		return "", r.bad("extended header of " + strconv.FormatInt(size, 10) + " bytes, which is too much")
	}
	// As it comes: the size alone takes no memory.
	var sb strings.Builder
	if n, err := io.CopyN(&sb, r.in, size); n < size {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	return sb.String(), r.in.skip(padded(size) - size)
}

// entry makes the header of an entry of its last header block b and of what came before it.
func (r *Reader) entry(b *block, size int64, longName, longLink string, local map[string]string) (*Header, error) {
	h := &Header{Name: b.str(fName), Linkname: b.str(fLinkname), Type: b[fType.off]}
	magic := string(b.bytes(fMagic))
	if strings.HasPrefix(magic, magicUstar[:6]) {
		prefix := b.str(fPrefix)
		if string(b.bytes(fStarMark)) == "tar\x00" {
			prefix = b.str(fStar)
		}
		if prefix != "" {
			h.Name = prefix + "/" + h.Name
		}
	}
	if longName != "" {
		h.Name = longName
	}
	if longLink != "" {
		h.Linkname = longLink
	}
	r.name = h.Name
	mode, ok1 := num(b.bytes(fMode))
	uid, ok2 := num(b.bytes(fUID))
	gid, ok3 := num(b.bytes(fGID))
	sec, ok4 := num(b.bytes(fMtime))
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return nil, r.bad("header with a number that cannot be read")
	}
	h.Mode, h.UID, h.GID, h.Mtime = uint32(mode)&0o7777, uid, gid, Time{Sec: sec}
	if h.Type == Char || h.Type == Block {
		var ok1, ok2 bool
		h.Major, ok1 = num(b.bytes(fMajor))
		h.Minor, ok2 = num(b.bytes(fMinor))
		if !ok1 || !ok2 {
			return nil, r.bad("header with a device number that cannot be read")
		}
	}
	if magic == magicGNU {
		if t, ok := num(b.bytes(fGNUAtime)); ok && t != 0 {
			h.Atime, h.HasAtime = Time{Sec: t}, true
		}
	}
	m := local
	if len(r.global) > 0 {
		m = maps.Clone(r.global)
		maps.Copy(m, local)
	}
	size, err := h.apply(m, size)
	if err != nil {
		return nil, r.bad(err.Error())
	}
	if size < 0 {
		return nil, r.bad("a size below zero")
	}
	h.Size = size
	r.left = size
	sparse := h.Type == gnuSparse
	inData := false
	switch h.Type {
	case regularV7, contiguous, gnuSparse:
		h.Type = Regular
	case gnuDumpDir:
		h.Type = Directory
	case gnuMulti:
		return nil, r.bad("it is a part of an archive of several volumes; join them first")
	}
	if h.Type == Regular {
		if sparse {
			err = r.sparseGNU(h, b)
		} else {
			sparse, inData, err = h.sparsePAX(m)
			if err != nil {
				err = r.bad(err.Error())
			}
		}
		if err != nil {
			return nil, err
		}
	}
	r.name = h.Name
	if h.Type == Regular && !sparse && strings.HasSuffix(h.Name, "/") {
		h.Type = Directory // as before there was a type for it
	}
	switch h.Type {
	case Hardlink, Symlink, Char, Block, Fifo:
		// Old archives repeat the size of the file that a link leads to; there are no data.
		h.Size, r.left = 0, 0
	case Directory:
		h.Size = 0
		if b[fType.off] == Directory {
			r.left = 0
		}
	}
	r.pad = padded(r.left) - r.left
	if inData {
		if err := r.sparseInData(h); err != nil {
			return nil, err
		}
	}
	if sparse && h.Stored() != r.left {
		return nil, r.bad("sparse file whose parts are not as long as its data")
	}
	return h, nil
}

// sparseGNU reads the map of a sparse file of GNU's own format: in the header block, and in more behind it.
func (r *Reader) sparseGNU(h *Header, b *block) error {
	real, ok := num(b.bytes(fGNUSize))
	if !ok || real < 0 {
		return r.bad("sparse file without its size")
	}
	h.Size, h.Sparse = real, []Segment{}
	add := func(entries []byte) error {
		for ; len(entries) > 0; entries = entries[sparseEntry:] {
			if entries[0] == 0 && entries[12] == 0 {
				return nil
			}
			off, ok1 := num(entries[:12])
			n, ok2 := num(entries[12:24])
			if !ok1 || !ok2 {
				return r.bad("sparse map that cannot be read")
			}
			if err := h.addSegment(off, n); err != nil {
				return r.bad(err.Error())
			}
		}
		return nil
	}
	if err := add(b.bytes(fGNUMap)); err != nil {
		return err
	}
	for more := b.bytes(fGNUMore)[0] != 0; more; {
		var ext block
		if err := r.in.full(ext[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := add(ext.bytes(fExtMap)); err != nil {
			return err
		}
		more = ext.bytes(fExtMore)[0] != 0
	}
	return nil
}

// sparseInData reads the map of a sparse file of version 1.0: decimal numbers, a line each, in blocks of
// their own in front of the data. The first is how many parts there are.
func (r *Reader) sparseInData(h *Header) error {
	h.Sparse = []Segment{}
	var line []byte
	var b block
	used := BlockSize
	number := func() (int64, error) {
		line = line[:0]
		for {
			if used == BlockSize {
				if r.left < BlockSize {
					return 0, r.bad("sparse map that does not end")
				}
				if err := r.in.full(b[:]); err != nil {
					if errors.Is(err, io.EOF) {
						err = io.ErrUnexpectedEOF
					}
					return 0, err
				}
				r.left -= BlockSize
				used = 0
			}
			c := b[used]
			used++
			if c == '\n' {
				break
			}
			if line = append(line, c); len(line) > 20 {
				return 0, r.bad("sparse map that cannot be read")
			}
		}
		n, err := strconv.ParseInt(string(line), 10, 64)
		if err != nil || n < 0 {
			return 0, r.bad("sparse map that cannot be read")
		}
		return n, nil
	}
	count, err := number()
	if err != nil {
		return err
	}
	for ; count > 0; count-- {
		off, err := number()
		if err != nil {
			return err
		}
		n, err := number()
		if err != nil {
			return err
		}
		if err := h.addSegment(off, n); err != nil {
			return r.bad(err.Error())
		}
	}
	return nil
}

// Read reads the entry's data; of a sparse file, its parts one after the other.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil && r.err != io.EOF {
		return 0, r.err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.in.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err == io.EOF {
		err = r.cut()
	}
	if err != nil {
		r.err = err
	}
	return n, err
}
