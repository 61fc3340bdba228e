// Package tarfile reads and writes tar archives as streams: the formats v7, ustar, PAX (POSIX.1-2001) and
// GNU's, with long names, times of nanoseconds, extended attributes and sparse files, whose holes it does
// not turn into zeros. That is what it is for: archive/tar of the standard library reads a hole of a
// terabyte as a terabyte of zeros, and cannot write one.
//
// An archive is hostile: what it says about sizes and counts is checked before memory is taken for it, and
// what does not fit the format is a [FormatError].
//
// Sources: the man page tar(5) of libarchive, "Basic Tar Format" and "Storing Sparse Files" in the manual
// of GNU tar, and POSIX.1-2017, pax.
package tarfile

import "fmt"

// BlockSize is the unit of headers and padding in bytes.
const BlockSize = 512

// Types of entries, as they are in the archive.
const (
	Regular   = '0'
	Hardlink  = '1'
	Symlink   = '2'
	Char      = '3'
	Block     = '4'
	Directory = '5'
	Fifo      = '6'
)

// Other types, which do not leave this package.
const (
	regularV7   = '\x00'
	contiguous  = '7'
	paxLocal    = 'x'
	paxGlobal   = 'g'
	paxSolaris  = 'X'
	gnuLongName = 'L'
	gnuLongLink = 'K'
	gnuSparse   = 'S'
	gnuDumpDir  = 'D'
	gnuVolume   = 'V'
	gnuMulti    = 'M'
)

// Time is a time: seconds since the epoch, and nanoseconds 0..999999999.
type Time struct {
	Sec  int64
	Nsec int32
}

// Segment is a part of a file that is not a hole, in bytes.
type Segment struct{ Off, Len int64 }

// Header is an entry of an archive.
type Header struct {
	Name     string // as it is in the archive, with "../" and all
	Linkname string // of a hard or symbolic link
	Type     byte
	Mode     uint32 // permission bits, 0..07777
	UID, GID int64
	Size     int64 // of a regular file as it is read; of others 0
	Mtime    Time
	Atime    Time // if HasAtime
	HasAtime bool
	Major    int64 // of a device
	Minor    int64
	// Xattrs are extended attributes by their full name.
	Xattrs map[string]string
	// ACLs are POSIX ACLs in text form, as star and GNU tar have them besides Xattrs.
	AccessACL, DefaultACL string
	// Sparse says where in the file its data are, in order; the data of the entry are these parts one
	// after the other. Nil: the file has no holes.
	Sparse []Segment
}

// Stored returns how many bytes of data the entry has in the archive.
func (h *Header) Stored() int64 {
	if h.Sparse == nil {
		return h.Size
	}
	var n int64
	for _, s := range h.Sparse {
		n += s.Len
	}
	return n
}

// Limits of what is held in memory of one entry.
const (
	maxExtended = 4 << 20 // bytes of an extended header, or of a long name
	maxSegments = 1 << 20 // of a sparse file
)

// MaxSegments is how many parts a sparse file can have.
const MaxSegments = maxSegments

// FormatError says what is wrong with an archive, and where.
type FormatError struct {
	Off  int64 // of the header in the archive that it is about
	Name string
	What string
}

func (e *FormatError) Error() string {
	if e.Name != "" {
		return fmt.Sprintf("the tar archive is damaged at byte %d (%.100q): %s", e.Off, e.Name, e.What)
	}
	return fmt.Sprintf("the tar archive is damaged at byte %d: %s", e.Off, e.What)
}
