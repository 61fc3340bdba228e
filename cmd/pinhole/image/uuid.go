package image

import (
	"crypto/rand"
	"fmt"
	"os"

	"pinhole/blockdev/filedev"
	"pinhole/fs/ext4/resize"
)

// newUUID gives the file system in f, which nobody uses, a new UUID.
func newUUID(path string, f *os.File) error {
	var u [16]byte
	rand.Read(u[:])
	u[6] = u[6]&0x0f | 0x40 // version 4
	u[8] = u[8]&0x3f | 0x80
	dev, err := filedev.New(f)
	if err == nil {
		err = resize.SetUUID(dev, u)
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", path, err)
	}
	return nil
}
