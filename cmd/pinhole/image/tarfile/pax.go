package tarfile

import (
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Keys of extended headers.
const (
	paxPath      = "path"
	paxLinkpath  = "linkpath"
	paxSize      = "size"
	paxUID       = "uid"
	paxGID       = "gid"
	paxMtime     = "mtime"
	paxAtime     = "atime"
	paxXattr     = "SCHILY.xattr."
	paxLibXattr  = "LIBARCHIVE.xattr." // name as in a URL, value in base64
	paxACLAccess = "SCHILY.acl.access"
	paxACLDeflt  = "SCHILY.acl.default"
	paxDevMajor  = "SCHILY.devmajor"
	paxDevMinor  = "SCHILY.devminor"

	paxSparseMajor  = "GNU.sparse.major"
	paxSparseMinor  = "GNU.sparse.minor"
	paxSparseName   = "GNU.sparse.name"
	paxSparseReal   = "GNU.sparse.realsize" // of version 1.0
	paxSparseSize   = "GNU.sparse.size"     // of versions 0.0 and 0.1
	paxSparseMap    = "GNU.sparse.map"      // of version 0.1
	paxSparseBlocks = "GNU.sparse.numblocks"
	paxSparseOffset = "GNU.sparse.offset" // of version 0.0, again and again
	paxSparseBytes  = "GNU.sparse.numbytes"
)

// parsePAX puts the records of an extended header into m; an empty value takes a record away. The maps of
// sparse files of version 0.0, whose keys repeat, become those of version 0.1.
func parsePAX(data string, m map[string]string) error {
	var offsets []string
	for len(data) > 0 {
		digits, rest, ok := strings.Cut(data, " ")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < len(digits)+2 || n > len(data) || data[n-1] != '\n' {
			return errors.New("extended header with a record that is not one")
		}
		record := rest[:n-len(digits)-2]
		data = data[n:]
		key, value, ok := strings.Cut(record, "=")
		if !ok || key == "" {
			return errors.New("extended header with a record without a key")
		}
		switch key {
		case paxSparseOffset, paxSparseBytes:
			if want := map[bool]string{true: paxSparseOffset, false: paxSparseBytes}[len(offsets)%2 == 0]; key != want {
				return errors.New("sparse map without order")
			}
			offsets = append(offsets, value)
			continue
		}
		if value == "" && !strings.HasPrefix(key, paxXattr) {
			delete(m, key)
		} else {
			m[key] = value
		}
	}
	if len(offsets) > 0 {
		m[paxSparseMap] = strings.Join(offsets, ",")
	}
	return nil
}

// apply overwrites what the header block said by what the extended headers say. It returns how many bytes
// of data follow.
func (h *Header) apply(m map[string]string, stored int64) (int64, error) {
	number := func(key string, to *int64) error {
		s, ok := m[key]
		if !ok {
			return nil
		}
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return errors.New("extended header with " + key + " " + strconv.Quote(cut(s)))
		}
		*to = v
		return nil
	}
	if s, ok := m[paxPath]; ok {
		h.Name = s
	}
	if s, ok := m[paxLinkpath]; ok {
		h.Linkname = s
	}
	for key, to := range map[string]*int64{paxSize: &stored, paxUID: &h.UID, paxGID: &h.GID, paxDevMajor: &h.Major, paxDevMinor: &h.Minor} {
		if err := number(key, to); err != nil {
			return 0, err
		}
	}
	for key, to := range map[string]*Time{paxMtime: &h.Mtime, paxAtime: &h.Atime} {
		if s, ok := m[key]; ok {
			t, ok := paxTime(s)
			if !ok {
				return 0, errors.New("extended header with " + key + " " + strconv.Quote(cut(s)))
			}
			*to = t
			h.HasAtime = h.HasAtime || key == paxAtime
		}
	}
	h.AccessACL, h.DefaultACL = m[paxACLAccess], m[paxACLDeflt]
	for key, value := range m {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			if name, ok = strings.CutPrefix(key, paxLibXattr); !ok {
				continue
			}
			plain, err := url.PathUnescape(name)
			raw, err2 := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil || err2 != nil {
				return 0, errors.New("extended attribute " + strconv.Quote(cut(name)) + " that cannot be read")
			}
			name, value = plain, string(raw)
			if _, ok := m[paxXattr+name]; ok {
				continue
			}
		}
		if h.Xattrs == nil {
			h.Xattrs = make(map[string]string)
		}
		h.Xattrs[name] = value
	}
	return stored, nil
}

// cut makes a text short enough for a message.
func cut(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

// sparsePAX reads the map of a sparse file out of the extended headers, if it has one there. inData says
// that it comes in front of the data.
func (h *Header) sparsePAX(m map[string]string) (sparse, inData bool, err error) {
	number := func(key string) (int64, bool) {
		v, err := strconv.ParseInt(m[key], 10, 64)
		return v, err == nil && v >= 0
	}
	if name, ok := m[paxSparseName]; ok {
		h.Name = name
	}
	if major, ok := m[paxSparseMajor]; ok && (major != "0" || m[paxSparseMinor] != "0" && m[paxSparseMinor] != "1") {
		if major != "1" || m[paxSparseMinor] != "0" {
			return false, false, errors.New("sparse file of a version that is not known")
		}
		size, ok := number(paxSparseReal)
		if !ok {
			return false, false, errors.New("sparse file without its size")
		}
		h.Size = size
		return true, true, nil
	}
	text, ok := m[paxSparseMap]
	if !ok {
		if n, ok := number(paxSparseBlocks); !ok || n != 0 {
			return false, false, nil
		}
	}
	size, ok := number(paxSparseSize)
	if !ok {
		if size, ok = number(paxSparseReal); !ok {
			return false, false, errors.New("sparse file without its size")
		}
	}
	h.Size = size
	h.Sparse = []Segment{}
	for len(text) > 0 {
		var off, n string
		off, text, _ = strings.Cut(text, ",")
		n, text, _ = strings.Cut(text, ",")
		o, err := strconv.ParseInt(off, 10, 64)
		l, err2 := strconv.ParseInt(n, 10, 64)
		if err != nil || err2 != nil {
			return false, false, errors.New("sparse map that cannot be read")
		}
		if err := h.addSegment(o, l); err != nil {
			return false, false, err
		}
	}
	return true, false, nil
}

// addSegment puts the next part into the map of a sparse file.
func (h *Header) addSegment(off, n int64) error {
	end := int64(0)
	if len(h.Sparse) > 0 {
		last := h.Sparse[len(h.Sparse)-1]
		end = last.Off + last.Len
	}
	if n == 0 && off >= 0 && off <= h.Size {
		return nil // marks the end of a file that ends in a hole
	}
	if off < end || n < 0 || off > h.Size || n > h.Size-off {
		return errors.New("sparse map with parts out of order, or beyond the end")
	}
	if len(h.Sparse) >= maxSegments {
		return errors.New("sparse map of too many parts")
	}
	if off == end && len(h.Sparse) > 0 {
		h.Sparse[len(h.Sparse)-1].Len += n
		return nil
	}
	h.Sparse = append(h.Sparse, Segment{off, n})
	return nil
}

// formatPAX makes an extended header of records, sorted by key.
func formatPAX(m map[string]string) []byte {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []byte
	for _, k := range keys {
		rest := len(" =\n") + len(k) + len(m[k])
		n := rest + len(strconv.Itoa(rest))
		if m := rest + len(strconv.Itoa(n)); m != n {
			n = m // the length's own digits became more
		}
		out = strconv.AppendInt(out, int64(n), 10)
		out = append(out, ' ')
		out = append(out, k...)
		out = append(out, '=')
		out = append(out, m[k]...)
		out = append(out, '\n')
	}
	return out
}
