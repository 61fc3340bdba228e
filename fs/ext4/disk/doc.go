// Package disk is ext4's on-disk format: structures with field-by-field decoding and
// encoding, feature flags by name, metadata checksums, and directory hashes. It does no
// I/O, allocates no blocks and trusts nothing: every decoder checks lengths, and leaves
// the judgement of values to its caller.
//
// Sources are the format documentation in the Linux kernel tree
// (Documentation/filesystems/ext4) and the behaviour of e2fsprogs, against which the golden
// tests compare. All integers are little-endian, except in the journal (jbd2), which is
// big-endian.
package disk

import "encoding/binary"

var le = binary.LittleEndian

func put64split(lo, hi []byte, v uint64) {
	le.PutUint32(lo, uint32(v))
	le.PutUint32(hi, uint32(v>>32))
}
