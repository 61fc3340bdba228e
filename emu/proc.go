package emu

import (
	"sync"
	"sync/atomic"

	"pinhole/fs/vfs"
)

// firstPID is the number of the first process. It is not 1: programs that find themselves to be
// process 1 take themselves for init.
const firstPID = 2

// Process is what threads share: memory, descriptors, directories, signal handlers, identity.
//
// Lock order: Kernel.mu, Process.mu, signal.mu, space.mu; any of them before a futex bucket's.
type Process struct {
	kernel *Kernel
	pid    int32

	files *fdTable // has its own lock

	fsmu  sync.RWMutex
	fsctx vfs.Context // who and where it is towards file systems; guarded by fsmu

	mem *space
	sig signalTable

	mu      sync.Mutex
	ids     identity
	limits  limits
	tasks   map[int32]*Task // by thread number
	exiting bool
	status  int          // as Wait returns it, once exiting
	live    atomic.Int32 // len(tasks), readable without the lock
}

type identity struct{}
type limits struct{}
