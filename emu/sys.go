package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// What uname(2) tells. Programs decide by system and release what they may ask for, so these are a
// Linux's, of a release that has every call that is answered here; the version names who really
// answers.
const (
	unameSystem  = "Linux"
	unameRelease = "6.1.0-pinhole"
	unameVersion = "#1 Pinhole"
	unameMachine = "x86_64"
)

// sysAbi answers sys_abi: what this kernel offers, as much of it as there is room for.
func (t *Task) sysAbi(info abi.Addr, size uint64) (uint64, abi.Errno) {
	var b [abi.InfoSize]byte
	i := abi.Info{Version: abi.Version, Calls: abi.CallTop, Features: abi.FeatureLinuxGate | abi.FeatureTrap | abi.FeatureThreads |
		abi.FeatureProcesses | abi.FeatureEvents}
	i.Encode(b[:])
	n := min(size, uint64(len(b)))
	if guest.CopyOut(info, b[:n]) < int(n) {
		return 0, abi.EFAULT
	}
	return uint64(len(b)), 0
}

// sysUname answers sys_uname (uname(2)).
func (t *Task) sysUname(buf abi.Addr) (uint64, abi.Errno) {
	u := abi.Utsname{
		Sysname: unameSystem, Nodename: t.kernel.conf.Hostname, Release: unameRelease,
		Version: unameVersion, Machine: unameMachine, Domainname: "(none)",
	}
	var b [abi.UtsnameSize]byte
	u.Encode(b[:])
	if guest.CopyOut(buf, b[:]) < len(b) {
		return 0, abi.EFAULT
	}
	return 0, 0
}

// sysInfo answers sys_info (sysinfo(2)).
func (t *Task) sysInfo(buf abi.Addr) (uint64, abi.Errno) {
	k := t.kernel
	s := abi.Sysinfo{
		Uptime:   (k.monotonic() - k.started) / 1e9,
		Totalram: uint64(k.commit.limit),
		Freeram:  uint64(max(0, k.commit.limit-k.commit.used.Load())),
		Procs:    uint16(min(k.taskN.Load(), 1<<16-1)),
		Unit:     1,
	}
	var b [abi.SysinfoSize]byte
	s.Encode(b[:])
	if guest.CopyOut(buf, b[:]) < len(b) {
		return 0, abi.EFAULT
	}
	return 0, 0
}

// sysEntropy answers sys_entropy (getrandom(2)).
func (t *Task) sysEntropy(buf abi.Addr, n uint64, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.GRND_NONBLOCK|abi.GRND_RANDOM|abi.GRND_INSECURE) != 0 ||
		flags&(abi.GRND_RANDOM|abi.GRND_INSECURE) == abi.GRND_RANDOM|abi.GRND_INSECURE {
		return 0, abi.EINVAL
	}
	n = min(n, 1<<25-1) // what Linux gives at most
	var b [256]byte
	for done := uint64(0); done < n; {
		p := b[:min(n-done, uint64(len(b)))]
		if err := t.kernel.m.Entropy(p); err != nil {
			return 0, abi.EIO
		}
		c := guest.CopyOut(buf+abi.Addr(done), p)
		done += uint64(c)
		if c < len(p) {
			if done == 0 {
				return 0, abi.EFAULT
			}
			return done, 0
		}
		if t.attention.Load()&attInterrupt != 0 && done < n {
			return done, 0
		}
	}
	return n, 0
}
