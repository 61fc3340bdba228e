package ext4

import "sync"

// bitmapCache bounds how many groups keep their bitmaps at hand. A group that does holds a reference
// to their buffers, which saves a look into the buffer cache at each allocation; those that were not
// used for long give it back, so that a large image does not fill the memory with bitmaps.
type bitmapCache struct {
	mu    sync.Mutex
	ring  []*group // groups with a bitmap at hand
	hand  int
	limit int
}

func (c *bitmapCache) init(fs *FS) {
	// An eighth of the buffers that the cache keeps, two bitmaps each.
	c.limit = max(fs.buffers.limit*bufferShards/16, 16)
	c.ring, c.hand = nil, 0
}

// pinned notes that g, whose lock the caller holds, has got a bitmap.
func (c *bitmapCache) pinned(fs *FS, g *group) {
	g.used = true
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.inRing {
		return
	}
	g.inRing = true
	if len(c.ring) < c.limit {
		c.ring = append(c.ring, g)
		return
	}
	for tries := 0; tries < 2*len(c.ring); tries++ {
		c.hand = (c.hand + 1) % len(c.ring)
		old := c.ring[c.hand]
		if !old.mu.TryLock() {
			continue
		}
		if old.used {
			old.used = false
			old.mu.Unlock()
			continue
		}
		fs.buffers.put(old.blocks)
		fs.buffers.put(old.inodes)
		old.blocks, old.inodes, old.inRing = nil, nil, false
		old.mu.Unlock()
		c.ring[c.hand] = g
		return
	}
	c.ring = append(c.ring, g) // all are in use: for once one more
}
