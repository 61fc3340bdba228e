package disk

import "math/bits"

// HashVersion names a directory hash. On disk only the first three occur; the unsigned
// kinds follow from a flag in the superblock.
type HashVersion uint8

// The hash versions.
const (
	HashLegacy HashVersion = iota
	HashHalfMD4
	HashTEA
	HashLegacyUnsigned
	HashHalfMD4Unsigned
	HashTEAUnsigned
	HashSipHash // of encrypted directories; not implemented
)

// hashEOF is the hash that Linux uses to say "end of directory"; no name may have it.
const hashEOF = 0x7fffffff << 1

// DirHash returns the major and minor hash of a name. Bit 0 of major is always 0. ok is
// false if the version is not known.
func DirHash(v HashVersion, seed *[4]uint32, name string) (major, minor uint32, ok bool) {
	buf := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if *seed != [4]uint32{} {
		buf = *seed
	}
	signed := v < HashLegacyUnsigned
	switch v {
	case HashLegacy, HashLegacyUnsigned:
		major = legacyHash(name, signed)
	case HashHalfMD4, HashHalfMD4Unsigned:
		var in [8]uint32
		for {
			hashInput(name, in[:], signed)
			halfMD4(&buf, &in)
			if len(name) <= 32 {
				break
			}
			name = name[32:]
		}
		major, minor = buf[1], buf[2]
	case HashTEA, HashTEAUnsigned:
		var in [4]uint32
		for {
			hashInput(name, in[:], signed)
			teaTransform(&buf, &in)
			if len(name) <= 16 {
				break
			}
			name = name[16:]
		}
		major, minor = buf[0], buf[1]
	default:
		return 0, 0, false
	}
	major &^= 1
	if major == hashEOF {
		major = hashEOF - 2
	}
	return major, minor, true
}

// char returns a name's byte as the hash takes it: C's char was signed on most machines.
func char(b byte, signed bool) uint32 {
	if signed {
		return uint32(int32(int8(b)))
	}
	return uint32(b)
}

func legacyHash(name string, signed bool) uint32 {
	h0, h1 := uint32(0x12a3fe2d), uint32(0x37abe8f9)
	for i := range len(name) {
		h := h1 + (h0 ^ char(name[i], signed)*7152373)
		if h&0x80000000 != 0 {
			h -= 0x7fffffff
		}
		h1, h0 = h0, h
	}
	return h0 << 1
}

// hashInput packs the head of a name into words, first byte highest, and fills the rest
// with the length of all that is left.
func hashInput(name string, out []uint32, signed bool) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	k := 0
	for ; k < len(out) && len(name) >= 4; k++ {
		w := uint32(name[0])<<24 | uint32(name[1])<<16 | uint32(name[2])<<8 | uint32(name[3])
		if signed && w&0x808080 != 0 {
			// A negative byte borrows from those before it.
			w = char(name[0], true)<<24 + char(name[1], true)<<16 + char(name[2], true)<<8 + char(name[3], true)
		}
		out[k] = w
		name = name[4:]
	}
	if k == len(out) {
		return
	}
	val := pad
	for i := range len(name) {
		val = char(name[i], signed) + val<<8
	}
	out[k] = val
	for k++; k < len(out); k++ {
		out[k] = pad
	}
}

// teaTransform is sixteen rounds of the Tiny Encryption Algorithm in a feed-forward mode.
func teaTransform(buf *[4]uint32, in *[4]uint32) {
	const delta = 0x9e3779b9
	var sum uint32
	b0, b1 := buf[0], buf[1]
	for range 16 {
		sum += delta
		b0 += (b1<<4 + in[0]) ^ (b1 + sum) ^ (b1>>5 + in[1])
		b1 += (b0<<4 + in[2]) ^ (b0 + sum) ^ (b0>>5 + in[3])
	}
	buf[0] += b0
	buf[1] += b1
}

// The additive constants of the rounds of half MD4.
const (
	md4Round2 = 0x5a827999
	md4Round3 = 0x6ed9eba1
)

// halfMD4 is MD4 (RFC 1320) with half the steps in each round.
func halfMD4(buf *[4]uint32, in *[8]uint32) {
	a, b, c, d := buf[0], buf[1], buf[2], buf[3]

	a = bits.RotateLeft32(a+(d^b&(c^d))+in[0], 3)
	d = bits.RotateLeft32(d+(c^a&(b^c))+in[1], 7)
	c = bits.RotateLeft32(c+(b^d&(a^b))+in[2], 11)
	b = bits.RotateLeft32(b+(a^c&(d^a))+in[3], 19)
	a = bits.RotateLeft32(a+(d^b&(c^d))+in[4], 3)
	d = bits.RotateLeft32(d+(c^a&(b^c))+in[5], 7)
	c = bits.RotateLeft32(c+(b^d&(a^b))+in[6], 11)
	b = bits.RotateLeft32(b+(a^c&(d^a))+in[7], 19)

	a = bits.RotateLeft32(a+(b&c+(b^c)&d)+in[1]+md4Round2, 3)
	d = bits.RotateLeft32(d+(a&b+(a^b)&c)+in[3]+md4Round2, 5)
	c = bits.RotateLeft32(c+(d&a+(d^a)&b)+in[5]+md4Round2, 9)
	b = bits.RotateLeft32(b+(c&d+(c^d)&a)+in[7]+md4Round2, 13)
	a = bits.RotateLeft32(a+(b&c+(b^c)&d)+in[0]+md4Round2, 3)
	d = bits.RotateLeft32(d+(a&b+(a^b)&c)+in[2]+md4Round2, 5)
	c = bits.RotateLeft32(c+(d&a+(d^a)&b)+in[4]+md4Round2, 9)
	b = bits.RotateLeft32(b+(c&d+(c^d)&a)+in[6]+md4Round2, 13)

	a = bits.RotateLeft32(a+(b^c^d)+in[3]+md4Round3, 3)
	d = bits.RotateLeft32(d+(a^b^c)+in[7]+md4Round3, 9)
	c = bits.RotateLeft32(c+(d^a^b)+in[2]+md4Round3, 11)
	b = bits.RotateLeft32(b+(c^d^a)+in[6]+md4Round3, 15)
	a = bits.RotateLeft32(a+(b^c^d)+in[1]+md4Round3, 3)
	d = bits.RotateLeft32(d+(a^b^c)+in[5]+md4Round3, 9)
	c = bits.RotateLeft32(c+(d^a^b)+in[0]+md4Round3, 11)
	b = bits.RotateLeft32(b+(c^d^a)+in[4]+md4Round3, 15)

	buf[0] += a
	buf[1] += b
	buf[2] += c
	buf[3] += d
}
