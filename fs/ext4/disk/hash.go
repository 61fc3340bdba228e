package disk

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
	n := min(len(name), 4*len(out))
	val, k := pad, 0
	for i := range n {
		val = char(name[i], signed) + val<<8
		if i%4 == 3 {
			out[k] = val
			k++
			val = pad
		}
	}
	if k < len(out) {
		out[k] = val
		k++
	}
	for ; k < len(out); k++ {
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

// Order of the input words and rotations in the three rounds of half MD4.
var (
	md4Order  = [3][8]uint8{{0, 1, 2, 3, 4, 5, 6, 7}, {1, 3, 5, 7, 0, 2, 4, 6}, {3, 7, 2, 6, 1, 5, 0, 4}}
	md4Rotate = [3][4]uint8{{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}}
	md4Add    = [3]uint32{0, 0x5a827999, 0x6ed9eba1}
)

// halfMD4 is MD4 (RFC 1320) with half the steps in each round.
func halfMD4(buf *[4]uint32, in *[8]uint32) {
	a, b, c, d := buf[0], buf[1], buf[2], buf[3]
	for round := range 3 {
		for i, w := range md4Order[round] {
			var f uint32
			switch round {
			case 0:
				f = d ^ b&(c^d)
			case 1:
				f = b&c + (b^c)&d
			default:
				f = b ^ c ^ d
			}
			t := a + f + in[w] + md4Add[round]
			s := md4Rotate[round][i&3]
			a, b, c, d = d, t<<s|t>>(32-s), b, c
		}
	}
	buf[0] += a
	buf[1] += b
	buf[2] += c
	buf[3] += d
}
