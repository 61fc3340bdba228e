package sandbox

import (
	"pinhole/blockdev"
	"pinhole/emu/guest"
	"pinhole/runtime/seccomp"
)

// bounceBytes is the part of the cache's memory, at its end, through which small writes of the file
// system's own structures go to the supervisor.
const bounceBytes = 64 << 10

// newDisk makes the block device, which is used only behind the lock.
func (b *boot) newDisk() (err error) {
	cache := b.conf.CacheBytes
	b.ring, err = blockdev.NewRingDevice(blockdev.RingConfig{
		Ring:     b.shared,
		Image:    b.image,
		RAM:      b.ram,
		Bounce:   b.ram[cache-bounceBytes : cache],
		Bell:     doorbell{b.m},
		Copy:     guest.CopyHost,
		ReadOnly: b.conf.ReadOnly,
	})
	b.disk = b.ring
	if b.conf.Ephemeral {
		b.disk = blockdev.NewEphemeralDevice(b.image, b.conf.EphemeralBytes(), guest.CopyHost)
	}
	return err
}

// discardRAM is the machine's hook. It is called only after newDisk.
func (b *boot) discardRAM(off, n int64) bool { return b.ring.DiscardRAM(off, n) == nil }

// doorbell is the sandbox's side of the two eventfds.
type doorbell struct{ host hostIO }

func (d doorbell) Ring() {
	one := [8]byte{1}
	d.host.HostWrite(seccomp.DoorbellOut, one[:])
}

func (d doorbell) Wait() {
	var count [8]byte
	d.host.HostRead(seccomp.DoorbellIn, count[:])
}
