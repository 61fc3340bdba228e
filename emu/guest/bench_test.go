package guest_test

import (
	"fmt"
	"testing"

	"pinhole/emu/guest"
)

func BenchmarkCopy(b *testing.B) {
	mem, base := island(b, 64)
	guest.SetAreaForTest(base, base+64*page)
	defer guest.TestMode()
	buf := make([]byte, 64*page)
	for _, n := range []int{8, 64, 144, 512, 4096, 65536} {
		b.Run(fmt.Sprintf("out/n=%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				guest.CopyOut(base, buf[:n])
			}
		})
		b.Run(fmt.Sprintf("in/n=%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				guest.CopyIn(buf[:n], base)
			}
		})
		b.Run(fmt.Sprintf("memmove/n=%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				copy(mem[:n], buf)
			}
		})
	}
	copy(mem, "/usr/share/zoneinfo/Europe/Vienna\x00")
	b.Run("string", func(b *testing.B) {
		for b.Loop() {
			guest.CopyString(buf[:4096], base)
		}
	})
	b.Run("load32", func(b *testing.B) {
		for b.Loop() {
			guest.Load32(base)
		}
	})
}
