package host

import "syscall"

// Descriptors the sandbox process is born with. The supervisor hands them over in this order;
// there are no others.
const (
	FDStdin       = 0
	FDStdout      = 1
	FDStderr      = 2
	FDControlIn   = 3 // supervisor to kernel, read
	FDControlOut  = 4 // kernel to supervisor, write
	FDDoorbellIn  = 5 // eventfd: the block ring has answers, read
	FDDoorbellOut = 6 // eventfd: the block ring has requests, write
	FDEntropy     = 7 // /dev/urandom, read
	FDImage       = 8 // the image, opened read-only, for mmap
	FDRAM         = 9 // guest RAM memfd, sealed against resizing, for mmap
)

// MapRule is one way in which mmap is called behind the lock: a descriptor, and exactly these
// flags. Prot is never anything but a subset of PROT_READ|PROT_WRITE|PROT_EXEC.
type MapRule struct {
	FD     int32
	Flags  uint32
	Reason string
}

// MapRules are all of them: the filter in runtime/seccomp admits these and no others, and
// nothing in this package or in the Go runtime under it needs more.
var MapRules = [...]MapRule{
	{-1, syscall.MAP_ANON | syscall.MAP_PRIVATE, "Go runtime: new heap arenas and tables (sysReserve, sysAlloc)"},
	{-1, syscall.MAP_ANON | syscall.MAP_PRIVATE | syscall.MAP_FIXED, "Go runtime: sysMap, sysFault and giving pages back; guest: private zero pages"},
	{-1, syscall.MAP_ANON | syscall.MAP_PRIVATE | syscall.MAP_FIXED | syscall.MAP_NORESERVE, "guest: address space without memory (unmapped, PROT_NONE)"},
	{-1, syscall.MAP_ANON | syscall.MAP_PRIVATE | syscall.MAP_FIXED | syscall.MAP_POPULATE, "guest: private zero pages that are present at once"},
	{FDImage, syscall.MAP_PRIVATE | syscall.MAP_FIXED, "guest: copy-on-write pages of a file, straight from the image"},
	{FDRAM, syscall.MAP_SHARED | syscall.MAP_FIXED, "guest: pages of the RAM memfd (shared memory, shared file mappings, moved pages)"},
}
