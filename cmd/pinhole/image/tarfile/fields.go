package tarfile

import (
	"bytes"
	"math"
	"strconv"
	"strings"
)

// Fields of a header block: offset and length.
type field struct{ off, n int }

var (
	fName     = field{0, 100}
	fMode     = field{100, 8}
	fUID      = field{108, 8}
	fGID      = field{116, 8}
	fSize     = field{124, 12}
	fMtime    = field{136, 12}
	fChecksum = field{148, 8}
	fType     = field{156, 1}
	fLinkname = field{157, 100}
	fMagic    = field{257, 8}
	fMajor    = field{329, 8}
	fMinor    = field{337, 8}
	fPrefix   = field{345, 155} // ustar
	fStar     = field{345, 131} // ustar of star, which has times behind it
	fStarMark = field{508, 4}
	fGNUAtime = field{345, 12}
	fGNUMore  = field{482, 1} // sparse map goes on in the next block
	fGNUSize  = field{483, 12}
	fGNUMap   = field{386, 4 * sparseEntry}
	fExtMap   = field{0, 21 * sparseEntry} // in blocks that go on with a map
	fExtMore  = field{504, 1}
)

const sparseEntry = 24 // bytes: offset and length, of 12 each

const (
	magicUstar = "ustar\x0000"
	magicGNU   = "ustar  \x00"
)

// block is a header block.
type block [BlockSize]byte

func (b *block) bytes(f field) []byte { return b[f.off:][:f.n] }

// str returns a field of text, which a NUL ends if it is not full.
func (b *block) str(f field) string {
	p := b.bytes(f)
	if i := bytes.IndexByte(p, 0); i >= 0 {
		p = p[:i]
	}
	return string(p)
}

// num returns a field of a number: octal digits, or binary if the first bit is set.
func num(p []byte) (int64, bool) {
	if p[0]&0x80 != 0 {
		return binaryNum(p)
	}
	p = bytes.Trim(p, " \x00")
	if len(p) == 0 {
		return 0, true
	}
	if i := bytes.IndexAny(p, " \x00"); i >= 0 {
		p = p[:i] // what is behind the end does not count
	}
	n, err := strconv.ParseUint(string(p), 8, 63)
	return int64(n), err == nil
}

// binaryNum reads GNU's base-256: two's complement, big end first, in all bits but the first.
func binaryNum(p []byte) (int64, bool) {
	negative := byte(0)
	if p[0]&0x40 != 0 {
		negative = 0xff
	}
	var v uint64
	for i, c := range p {
		c ^= negative
		if i == 0 {
			c &= 0x7f
		}
		if v>>56 != 0 {
			return 0, false
		}
		v = v<<8 | uint64(c)
	}
	if v>>63 != 0 {
		return 0, false
	}
	if negative != 0 {
		return ^int64(v), true
	}
	return int64(v), true
}

// putNum writes n in octal, with a NUL behind it, if it fits.
func putNum(p []byte, n int64) bool {
	s := strconv.FormatInt(n, 8)
	if n < 0 || len(s) > len(p)-1 {
		s = "0"
		n = -1
	}
	for i := range p[:len(p)-1] {
		p[i] = '0'
	}
	copy(p[len(p)-1-len(s):], s)
	p[len(p)-1] = 0
	return n >= 0
}

// checksums returns the sum of a block's bytes, with the checksum's own as spaces; and the sum of old
// programs that took bytes as signed.
func (b *block) checksums() (unsigned, signed int64) {
	for i, c := range b {
		if i >= fChecksum.off && i < fChecksum.off+fChecksum.n {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return unsigned, signed
}

func (b *block) isZero() bool { return *b == block{} }

// paxTime reads a time of an extended header: decimal seconds with a fraction.
func paxTime(s string) (Time, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	negative := strings.HasPrefix(whole, "-")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec == math.MinInt64 || strings.HasPrefix(whole, "+") {
		return Time{}, false
	}
	nsec := int32(0)
	for i := range 9 {
		nsec *= 10
		if i < len(fraction) {
			if fraction[i] < '0' || fraction[i] > '9' {
				return Time{}, false
			}
			nsec += int32(fraction[i] - '0')
		}
	}
	if negative && nsec > 0 {
		sec, nsec = sec-1, 1e9-nsec
	}
	return Time{sec, nsec}, true
}

// String writes a time as extended headers have it.
func (t Time) String() string {
	if t.Nsec == 0 {
		return strconv.FormatInt(t.Sec, 10)
	}
	sign := ""
	if t.Sec < 0 {
		t = Time{-t.Sec - 1, 1e9 - t.Nsec}
		sign = "-"
	}
	frac := strconv.Itoa(int(t.Nsec))
	frac = strings.Repeat("0", 9-len(frac)) + frac
	return sign + strconv.FormatInt(t.Sec, 10) + "." + strings.TrimRight(frac, "0")
}
