package resize

import (
	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// SetUUID gives the file system on dev another UUID. Its checksums keep the seed that they were made with
// (feature metadata_csum_seed). As Resize, it is not safe against crashes.
func SetUUID(dev blockdev.Device, uuid [16]byte) error {
	f, err := load(dev, Options{})
	if err != nil {
		return err
	}
	if f.csum && !f.sb.HasIncompat(disk.IncompatCsumSeed) {
		f.sb.FeatureIncompat |= disk.IncompatCsumSeed
		f.sb.ChecksumSeed = f.seed
	}
	f.sb.UUID = uuid
	// The older checksums of descriptors are made with the UUID itself.
	if f.gsum && !f.csum {
		if err := f.writeDescriptors(); err != nil {
			return err
		}
	}
	if err := f.writeSupers(); err != nil {
		return err
	}
	return dev.Flush()
}
