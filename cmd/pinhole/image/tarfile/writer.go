package tarfile

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// Writer writes an archive: ustar, with extended headers for what does not fit. What it writes depends on
// the entries only. It is for one goroutine, and writes small pieces: give it something with a buffer.
type Writer struct {
	w    io.Writer
	left int64 // data of the entry that have to come
	pad  int64
	err  error
}

// NewWriter returns a writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

var zeroBlock block

func (w *Writer) write(p []byte) error {
	if w.err == nil {
		_, w.err = w.w.Write(p)
	}
	return w.err
}

// finish ends the entry before.
func (w *Writer) finish() error {
	if w.err == nil && w.left > 0 {
		w.err = fmt.Errorf("tar archive: %d bytes of an entry are missing", w.left)
	}
	err := w.write(zeroBlock[:w.pad])
	w.pad = 0
	return err
}

// Write writes data of the entry.
func (w *Writer) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		return 0, errors.New("tar archive: more data than the entry has")
	}
	if err := w.write(p); err != nil {
		return 0, err
	}
	w.left -= int64(len(p))
	return len(p), nil
}

// Close writes the end mark.
func (w *Writer) Close() error {
	w.finish()
	w.write(zeroBlock[:])
	return w.write(zeroBlock[:])
}

// Header begins an entry; h.Stored() bytes of data have to follow.
func (w *Writer) Header(h *Header) error {
	if err := w.finish(); err != nil {
		return err
	}
	if len(h.Sparse) > maxSegments {
		return fmt.Errorf("tar archive: %d parts of a sparse file are too many", len(h.Sparse))
	}
	for i, s := range h.Sparse {
		// Some readers start each part at a block.
		if i < len(h.Sparse)-1 && s.Len%BlockSize != 0 {
			return fmt.Errorf("tar archive: a part of %d bytes in the middle of a sparse file is not a multiple of %d", s.Len, BlockSize)
		}
	}
	var b block
	pax := make(map[string]string)
	stored := int64(0)
	var sparseMap []byte
	name := h.Name
	if h.Type == Regular {
		stored = h.Stored()
		if h.Sparse != nil {
			sparseMap = formatSparse(h.Sparse, h.Size)
			pax[paxSparseMajor], pax[paxSparseMinor] = "1", "0"
			pax[paxSparseName], pax[paxSparseReal] = name, strconv.FormatInt(h.Size, 10)
			dir, base := path.Split(name)
			name = dir + "GNUSparseFile.0/" + base
		}
	}
	putName(&b, name, pax)
	putText(&b, fLinkname, h.Linkname, paxLinkpath, pax)
	putNum(b.bytes(fMode), int64(h.Mode&0o7777))
	for _, n := range []struct {
		f   field
		v   int64
		key string
	}{
		{fUID, h.UID, paxUID}, {fGID, h.GID, paxGID}, {fSize, stored + int64(len(sparseMap)), paxSize},
	} {
		if !putNum(b.bytes(n.f), n.v) {
			pax[n.key] = strconv.FormatInt(n.v, 10)
		}
	}
	for f, v := range map[field]int64{fMajor: h.Major, fMinor: h.Minor} {
		if p := b.bytes(f); !putNum(p, v) {
			// There is no extended header that all readers know; base-256 is what GNU's writes.
			for i := range p {
				p[len(p)-1-i] = byte(v >> (8 * i))
			}
			p[0] |= 0x80
		}
	}
	if !putNum(b.bytes(fMtime), h.Mtime.Sec) || h.Mtime.Nsec != 0 {
		pax[paxMtime] = h.Mtime.String()
	}
	if h.HasAtime {
		pax[paxAtime] = h.Atime.String()
	}
	for name, value := range h.Xattrs {
		if strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("tar archive: an attribute's name cannot be %q", name)
		}
		pax[paxXattr+name] = value
	}
	b[fType.off] = h.Type
	copy(b.bytes(fMagic), magicUstar)
	if len(pax) > 0 {
		if err := w.extended(h.Name, pax); err != nil {
			return err
		}
	}
	seal(&b)
	if err := w.write(b[:]); err != nil {
		return err
	}
	w.left = stored
	w.pad = padded(stored) - stored
	return w.write(sparseMap)
}

// extended writes an extended header.
func (w *Writer) extended(name string, pax map[string]string) error {
	data := formatPAX(pax)
	var b block
	dir, base := path.Split(strings.TrimRight(name, "/"))
	shown := ascii(dir + "PaxHeaders/" + base)
	copy(b.bytes(fName), shown)
	putNum(b.bytes(fMode), 0o644)
	for _, f := range []field{fUID, fGID, fMtime, fMajor, fMinor} {
		putNum(b.bytes(f), 0)
	}
	putNum(b.bytes(fSize), int64(len(data)))
	b[fType.off] = paxLocal
	copy(b.bytes(fMagic), magicUstar)
	seal(&b)
	w.write(b[:])
	w.write(data)
	return w.write(zeroBlock[:padded(int64(len(data)))-int64(len(data))])
}

// ascii makes a name of only the old characters, for readers that know no extended headers.
func ascii(s string) string {
	p := []byte(s)
	for i, c := range p {
		if c < ' ' || c >= 0x7f {
			p[i] = '_'
		}
	}
	return string(p)
}

func seal(b *block) {
	sum, _ := b.checksums()
	f := b.bytes(fChecksum)
	putNum(f[:7], sum)
	f[7] = ' '
}

// putText puts a text into its field, or, if it does not fit, into the extended header.
func putText(b *block, f field, s, key string, pax map[string]string) {
	plain := ascii(s)
	copy(b.bytes(f), plain)
	if len(s) > f.n || plain != s {
		pax[key] = s
	}
}

// putName puts the entry's name where it fits: into its field, with directories in the prefix, or into the
// extended header.
func putName(b *block, name string, pax map[string]string) {
	if len(name) > fName.n && len(name) <= fName.n+1+fPrefix.n && ascii(name) == name {
		// A slash that leaves a name that fits behind it, and a prefix before it.
		from := len(name) - fName.n - 1
		if i := strings.IndexByte(name[from:], '/'); i >= 0 && from+i > 0 && from+i <= fPrefix.n && from+i < len(name)-1 {
			copy(b.bytes(fPrefix), name[:from+i])
			copy(b.bytes(fName), name[from+i+1:])
			return
		}
	}
	putText(b, fName, name, paxPath, pax)
}

// formatSparse makes the map in front of a sparse file's data.
func formatSparse(parts []Segment, size int64) []byte {
	if n := len(parts); n == 0 || parts[n-1].Off+parts[n-1].Len < size {
		// GNU tar wants to be told of a hole at the end.
		parts = append(parts[:n:n], Segment{Off: size})
	}
	p := strconv.AppendInt(nil, int64(len(parts)), 10)
	p = append(p, '\n')
	for _, s := range parts {
		p = strconv.AppendInt(p, s.Off, 10)
		p = append(p, '\n')
		p = strconv.AppendInt(p, s.Len, 10)
		p = append(p, '\n')
	}
	return append(p, zeroBlock[:padded(int64(len(p)))-int64(len(p))]...)
}
