package emu

import (
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// system returns the content of a file of /proc that is of no process.
func (i ProcInfo) system(name string) (string, bool) {
	k := i.k
	number := func(n int64) (string, bool) { return fmt.Sprintf("%d\n", n), true }
	switch name {
	case "cmdline":
		return "\n", true
	case "cpuinfo":
		return k.showCPUs(), true
	case "filesystems":
		return "nodev\tproc\nnodev\ttmpfs\nnodev\tdevtmpfs\nnodev\tpipefs\n\text4\n", true
	case "loadavg":
		run, all := k.countThreads()
		return fmt.Sprintf("0.00 0.00 0.00 %d/%d %d\n", run, all, k.lastID()), true
	case "meminfo":
		return k.showMemory(), true
	case "stat":
		return k.showTimes(), true
	case "uptime":
		up := float64(k.monotonic()-k.started) / 1e9
		return fmt.Sprintf("%.2f %.2f\n", up, up*float64(k.m.CPUs())), true
	case "version":
		return fmt.Sprintf("%s version %s (pinhole) %s\n", unameSystem, unameRelease, unameVersion), true
	case "sys/fs/file-max":
		return number(maxDescriptions)
	case "sys/fs/nr_open":
		return number(maxDescriptors)
	case "sys/fs/pipe-max-size":
		return number(pipeMaxCapacity)
	case "sys/kernel/cap_last_cap":
		return number(abi.CAP_LAST_CAP)
	case "sys/kernel/hostname":
		return k.conf.Hostname + "\n", true
	case "sys/kernel/ngroups_max":
		return number(abi.NGROUPS_MAX)
	case "sys/kernel/osrelease":
		return unameRelease + "\n", true
	case "sys/kernel/ostype":
		return unameSystem + "\n", true
	case "sys/kernel/pid_max":
		return number(1 << 22)
	case "sys/kernel/threads-max":
		return number(maxThreads)
	case "sys/kernel/version":
		return unameVersion + "\n", true
	case "sys/kernel/random/boot_id":
		return k.io.bootID.get(k) + "\n", true
	case "sys/kernel/random/entropy_avail":
		return number(256)
	case "sys/kernel/random/uuid":
		return k.newUUID() + "\n", true
	case "sys/vm/max_map_count":
		return number(maxMappings)
	case "sys/vm/mmap_min_addr":
		return number(pageSize)
	case "sys/vm/overcommit_memory":
		return number(0)
	}
	return "", false
}

// bootID is a random name of the sandbox, made when it is first asked for.
type bootID struct {
	once sync.Once
	text string
}

func (b *bootID) get(k *Kernel) string {
	b.once.Do(func() { b.text = k.newUUID() })
	return b.text
}

// newUUID returns a random UUID (RFC 9562, version 4).
func (k *Kernel) newUUID() string {
	var b [16]byte
	k.m.Entropy(b[:]) // what the host does not give stays zero
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// countThreads returns how many threads run and how many there are.
func (k *Kernel) countThreads() (run, all int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range k.tasks {
		if t.state.Load() == taskRunning {
			run++
		}
	}
	return run, len(k.tasks)
}

// lastID returns the number that was given out last.
func (k *Kernel) lastID() int32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.nextID - 1
}

func (k *Kernel) showCPUs() string {
	var b strings.Builder
	n := k.m.CPUs()
	for cpu := range n {
		fmt.Fprintf(&b, "processor\t: %d\nvendor_id\t: %s\ncpu family\t: 6\nmodel\t\t: 0\nmodel name\t: %s\nstepping\t: 0\n",
			cpu, "Pinhole", "Pinhole virtual processor")
		fmt.Fprintf(&b, "physical id\t: 0\nsiblings\t: %d\ncore id\t\t: %d\ncpu cores\t: %d\n", n, cpu, n)
		b.WriteString("fpu\t\t: yes\nfpu_exception\t: yes\nwp\t\t: yes\n" +
			"flags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall lm fsgsbase\naddress sizes\t: 48 bits virtual\n\n")
	}
	return b.String()
}

func (k *Kernel) showMemory() string {
	total := k.commit.limit >> 10
	free := max(k.commit.limit-k.commit.used.Load(), 0) >> 10
	var b strings.Builder
	for _, l := range []struct {
		name string
		kib  int64
	}{
		{"MemTotal", total}, {"MemFree", free}, {"MemAvailable", free}, {"Buffers", 0}, {"Cached", 0}, {"SwapCached", 0},
		{"Active", total - free}, {"Inactive", 0}, {"SwapTotal", 0}, {"SwapFree", 0}, {"Dirty", 0}, {"Writeback", 0},
		{"AnonPages", total - free}, {"Mapped", 0}, {"Shmem", 0}, {"Slab", 0},
		{"CommitLimit", total}, {"Committed_AS", total - free},
		{"VmallocTotal", 0}, {"VmallocUsed", 0}, {"VmallocChunk", 0},
	} {
		fmt.Fprintf(&b, "%-16s%8d kB\n", l.name+":", l.kib)
	}
	return b.String()
}

// showTimes is /proc/stat. All time is that of programs, in ticks; how it was spread over
// processors nobody knows.
func (k *Kernel) showTimes() string {
	const tick = 1e9 / abi.ClockTick
	used, _ := k.m.Clock(abi.CLOCK_PROCESS_CPUTIME_ID)
	up := k.monotonic() - k.started
	n := int64(k.m.CPUs())
	idle := max(up*n-used, 0)
	var b strings.Builder
	line := func(name string, used, idle int64) {
		fmt.Fprintf(&b, "%s %d 0 0 %d 0 0 0 0 0 0\n", name, used/tick, idle/tick)
	}
	line("cpu ", used, idle)
	for cpu := range n {
		line(fmt.Sprint("cpu", cpu), used/n, idle/n)
	}
	now, _ := k.m.Clock(abi.CLOCK_REALTIME)
	run, _ := k.countThreads()
	fmt.Fprintf(&b, "intr 0\nctxt 0\nbtime %d\nprocesses %d\nprocs_running %d\nprocs_blocked 0\n", (now-up)/1e9, k.lastID(), run)
	return b.String()
}

// mountID returns the number of a file system in /proc/PID/mountinfo; 0: it is not mounted.
func (k *Kernel) mountID(fs vfs.FileSystem) int {
	if fs == nil {
		return 0
	}
	for i, m := range k.ns.Mounts() {
		if m.FS == fs {
			return firstMountID + i
		}
	}
	return 0
}

const firstMountID = 20

// showMounts is /proc/PID/mounts, or mountinfo. The parent of every mount but the first is taken to be
// the one with the longest path above it.
func (k *Kernel) showMounts(info bool) string {
	var b strings.Builder
	mounts := k.ns.Mounts()
	for i, m := range mounts {
		options, kind := "rw", m.Type
		if m.FS.ReadOnly() {
			options = "ro"
		}
		path := escapeMount(m.Path)
		if !info {
			fmt.Fprintf(&b, "%s %s %s %s,relatime 0 0\n", kind, path, kind, options)
			continue
		}
		parent, longest := 0, -1
		for j, o := range mounts[:i] {
			above := strings.TrimSuffix(o.Path, "/") + "/"
			if strings.HasPrefix(m.Path, above) && len(above) > longest {
				parent, longest = j, len(above)
			}
		}
		parent += firstMountID
		if i == 0 {
			parent = 1
		}
		fmt.Fprintf(&b, "%d %d %d:%d / %s %s,relatime - %s %s %s\n", firstMountID+i, parent,
			abi.Major(m.Dev), abi.Minor(m.Dev), path, options, kind, kind, options)
	}
	return b.String()
}

// escapeMount writes the characters that separate fields as getmntent(3) wants them.
func escapeMount(s string) string {
	return strings.NewReplacer("\\", "\\134", " ", "\\040", "\t", "\\011", "\n", "\\012").Replace(s)
}
