package ext4

import "sync"

// windows keeps blocks behind growing files free for them, so that files that grow side by
// side do not take every other block. Kept blocks are busy in their group, but free on
// disk; all are given up when the disk gets full.
type windows struct {
	mu sync.Mutex
	m  map[uint32]window // by inode
}

// window is a run of blocks kept for a file.
type window struct {
	start uint64
	n     uint32
}

const (
	minWindow = 16   // blocks
	maxWindow = 2048 // blocks
)

// claim takes up to k blocks of the inode's window, if that starts at goal. They remain busy.
func (w *windows) claim(n *inode, goal uint64, k uint32) (uint64, uint32) {
	if !n.hasWindow.Load() {
		return 0, 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	win := w.m[n.ino]
	if win.n == 0 || win.start != goal {
		return 0, 0
	}
	k = min(k, win.n)
	if win.n -= k; win.n == 0 {
		w.drop(n)
	} else {
		win.start += uint64(k)
		w.m[n.ino] = win
	}
	return goal, k
}

// drop forgets a window without blocks.
func (w *windows) drop(n *inode) {
	delete(w.m, n.ino)
	n.hasWindow.Store(false)
}

// open keeps up to k free blocks from start on for the inode, in place of its old window.
func (w *windows) open(fs *FS, n *inode, start uint64, k uint32) {
	w.close(fs, n)
	if !fs.validBlocks(start, 1) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	nr, off := fs.groupOf(start)
	g := &fs.groups[nr]
	g.mu.Lock()
	defer g.mu.Unlock()
	// No more than an eighth of what a group has left.
	k = min(k, g.desc.FreeBlocks/8)
	b, err := fs.blockBitmap(g)
	if err != nil {
		return
	}
	k = freeLen(b.data, g.busy, off, fs.groupLen(nr), k)
	if k == 0 || fs.takeSpace(int64(k), int64(k), 0) == 0 {
		return
	}
	fs.makeBusy(g, off, k)
	g.nextBlock = off + k
	if w.m == nil {
		w.m = make(map[uint32]window)
	}
	w.m[n.ino] = window{start, k}
	n.hasWindow.Store(true)
}

// close gives the inode's window up.
func (w *windows) close(fs *FS, n *inode) {
	if !n.hasWindow.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if win := w.m[n.ino]; win.n > 0 {
		w.free(fs, win)
	}
	w.drop(n)
}

// closeAll gives all windows up.
func (w *windows) closeAll(fs *FS) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, win := range w.m {
		w.free(fs, win)
	}
	clear(w.m)
}

func (w *windows) free(fs *FS, win window) {
	nr, off := fs.groupOf(win.start)
	g := &fs.groups[nr]
	g.mu.Lock()
	fs.unbusy(g, off, win.n)
	g.mu.Unlock()
}

// freeBusy makes all free blocks available: those that were freed lately, by a commit, those that
// are kept for growing files, and those that are reserved for trees in the worst case, by writing
// the content behind. The caller holds no lock.
func (fs *FS) freeBusy() error {
	if err := fs.writeContent(pressed); err != nil {
		fs.log("making room: %v", err) // told to those whose content it is
	}
	fs.windows.closeAll(fs)
	return fs.commit(0)
}
