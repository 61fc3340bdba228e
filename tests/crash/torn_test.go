package crash

import (
	"encoding/binary"

	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
)

// agreed has somebody else recover from a crash, whose result must be ours. Of a commit record
// only the first sector means anything. When something older follows it, because the rest did
// not get to the disk, its checksum is wrong; current Linux goes by the first sector alone, and so
// do we, while e2fsck 1.47.0 and older kernels drop the transaction, which nobody was told to be
// durable. So they are asked a second time, with the rest of the record.
func agreed(img *faultdev.Image, recover func(img *faultdev.Image) error) error {
	err := recover(img)
	if err != nil {
		if whole := wholeRecords(img); whole != nil {
			return recover(whole)
		}
	}
	return err
}

// wholeRecords returns the image with what is missing of its torn commit records, or nil if none
// is torn.
func wholeRecords(img *faultdev.Image) *faultdev.Image {
	var super disk.JournalSuper
	var whole *faultdev.Image
	for _, bs := range []int{1024, 2048, 4096} {
		p := make([]byte, bs)
		for off := int64(0); off+int64(bs) <= img.Size(); off += int64(bs) {
			img.ReadAt(p, off)
			if binary.BigEndian.Uint32(p) != disk.JournalMagic {
				continue
			}
			var h disk.JournalHeader
			h.Decode(p)
			switch {
			case h.Type == disk.JournalSuperV2 && binary.BigEndian.Uint32(p[0xc:]) == uint32(bs):
				super.Decode(p)
			case h.Type == disk.JournalCommit && super.BlockSize == uint32(bs) && super.HasChecksum():
				sum := binary.BigEndian.Uint32(p[0x10:])
				if sum == disk.JournalCommitChecksum(super.Seed(), p) || !disk.JournalCommitOK(super.Seed(), p) {
					continue
				}
				if whole == nil {
					whole = img.Clone()
				}
				clear(p[disk.JournalCommitSize:])
				whole.WriteAt(p, off)
			}
		}
	}
	return whole
}
