package host

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"pinhole/emu/guest"
)

// BenchmarkCall is a call that does nothing, there and back, against the host's cheapest.
func BenchmarkCall(b *testing.B) {
	b.Run("runtime=native", func(b *testing.B) {
		if mode != "" {
			b.Skip("behind the lock")
		}
		for b.Loop() {
			syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
	})
	b.Run("runtime=pinhole", func(b *testing.B) { benchGuest(b, newGuest(b, "calls", uint64(b.N))) })
	b.Run("runtime=pinhole/attached", func(b *testing.B) {
		c := newGuest(b, "calls", uint64(b.N))
		mach.Run(c, func() bool {
			if c.Why == guest.Call {
				if c.RAX == callExit {
					return false
				}
				c.RAX = c.RDI + c.RSI
			}
			return true
		})
	})
	b.Run("runtime=pinhole/gate=linux", func(b *testing.B) { benchGuest(b, newGuest(b, "linux_calls", uint64(b.N))) })
	if mode == "trap" {
		b.Run("runtime=pinhole/gate=trap", func(b *testing.B) { benchGuest(b, newGuest(b, "trapped_calls", uint64(b.N))) })
	}
}

func benchGuest(b *testing.B, c *guest.Context) {
	for {
		mach.Enter(c)
		switch c.Why {
		case guest.Call:
			if c.RAX == callExit {
				return
			}
			c.RAX = c.RDI + c.RSI
		case guest.LinuxCall, guest.Syscall:
			c.RAX = 0
		case guest.Tick:
		default:
			b.Fatal(describe(c))
		}
	}
}

// BenchmarkCallParallel has several guests call at once.
func BenchmarkCallParallel(b *testing.B) {
	for _, n := range []int{2, 8} {
		b.Run(fmt.Sprintf("guests=%d", n), func(b *testing.B) {
			var wg sync.WaitGroup
			for range n {
				c := newGuest(b, "calls", uint64(b.N/n))
				wg.Go(func() { drive(c) })
			}
			wg.Wait()
		})
	}
}

func BenchmarkContext(b *testing.B) {
	for b.Loop() {
		mach.FreeContext(mach.NewContext())
	}
}
