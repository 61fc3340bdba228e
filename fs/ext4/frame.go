package ext4

import (
	"sync"

	"pinhole/blockdev"
)

// frameSource hands out frames of blockdev.PageSize for file content and for the copies of
// metadata that a commit writes.
type frameSource struct {
	arena *blockdev.Arena
	limit int // frames that the cache may use

	mu    sync.Mutex
	parts [][]byte // free parts of frames, one block each, for blocks smaller than a frame
}

func (f *frameSource) init(arena *blockdev.Arena, cacheBytes, blockSize int) {
	if f.arena != nil {
		return
	}
	if cacheBytes <= 0 {
		cacheBytes = defaultCacheBytes
		if arena != nil {
			cacheBytes = arena.Frames() * blockdev.PageSize / 8 * 7
		}
	}
	cacheBytes = max(cacheBytes, minCacheBytes)
	if arena == nil {
		// The memory is only touched as frames are used.
		arena = blockdev.NewArena(make([]byte, cacheBytes/blockdev.PageSize*blockdev.PageSize))
	}
	f.arena = arena
	f.limit = max(min(cacheBytes/blockdev.PageSize, arena.Frames()), 16)
}

// block returns memory for one block of size bytes with arbitrary content: a frame or part
// of one, or, when there is none, plain memory.
func (f *frameSource) block(size int) []byte {
	if size == blockdev.PageSize {
		if b := f.arena.Alloc(); b != nil {
			return b
		}
		return make([]byte, size)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.parts); n > 0 {
		b := f.parts[n-1]
		f.parts = f.parts[:n-1]
		return b
	}
	frame := f.arena.Alloc()
	if frame == nil {
		return make([]byte, size)
	}
	for off := size; off < len(frame); off += size {
		f.parts = append(f.parts, frame[off:off+size:off+size])
	}
	return frame[:size:size]
}

// freeBlock gives memory from block back. Parts of frames are kept for the next commit;
// their number is bounded by the largest one.
func (f *frameSource) freeBlock(b []byte) {
	if _, ok := f.arena.Offset(b); !ok {
		return
	}
	if len(b) == blockdev.PageSize {
		f.arena.Free(b)
		return
	}
	f.mu.Lock()
	f.parts = append(f.parts, b)
	f.mu.Unlock()
}
