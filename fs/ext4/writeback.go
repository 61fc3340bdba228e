package ext4

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"pinhole/abi"
	"pinhole/blockdev"
)

// batchPages is how many pages are given to the device at a time.
const batchPages = 512

// written is a page being written, with the frame and blocks that are.
type written struct {
	p      *page
	frame  []byte
	blocks uint8
}

// writeback writes the content of n home that is dirty when it is called. It does not flush
// the device.
func (n *inode) writeback() error {
	n.wbMu.Lock()
	defer n.wbMu.Unlock()
	n.mu.Lock()
	todo := n.pages.list
	n.pages.list = nil
	for _, p := range todo {
		p.listed = false
	}
	n.mu.Unlock()
	byIndex := func(a, b *page) int { return cmp.Compare(a.index, b.index) }
	if !slices.IsSortedFunc(todo, byIndex) {
		slices.SortFunc(todo, byIndex)
	}
	var batch []written
	var vecs []blockdev.Vec
	for len(todo) > 0 {
		part := todo[:min(batchPages, len(todo))]
		n.mu.Lock()
		var err error
		batch, vecs, err = n.gather(part, batch[:0], vecs[:0])
		n.mu.Unlock()
		if err == nil && len(vecs) > 0 {
			if err = n.fs.dev.WriteV(vecs); err != nil {
				err = fmt.Errorf("content of inode %d: %w", n.ino, err)
			}
		}
		n.mu.Lock()
		n.finish(batch, err)
		if err != nil {
			// Pages that were not reached wait for the next time.
			for _, p := range todo {
				if p.frame != nil && p.dirty != 0 && !p.listed {
					p.listed = true
					n.pages.list = append(n.pages.list, p)
				}
			}
			n.fs.pages.wait(n, true)
		}
		n.mu.Unlock()
		if err != nil {
			return err
		}
		todo = todo[len(part):]
	}
	return nil
}

// gather takes those of the pages that are dirty, and says where they go.
func (n *inode) gather(pages []*page, batch []written, vecs []blockdev.Vec) ([]written, []blockdev.Vec, error) {
	for _, p := range pages {
		if p.frame == nil || p.dirty == 0 {
			continue // discarded since
		}
		first := uint32(p.index << pageShift >> n.fs.bsLog)
		w := written{p, p.frame, p.dirty}
		batch = append(batch, w)
		p.writing = true
		n.fs.pages.undirty(p)
		for m := w.blocks; m != 0; {
			i := bits.TrailingZeros8(m)
			k := bits.TrailingZeros8(^(m >> i))
			m &^= (1<<k - 1) << i
			for k > 0 {
				r, err := n.mapRun(first + uint32(i))
				if err == nil && (r.home == 0 || r.unwritten()) {
					err = n.fs.corruptInode(n.ino, "dirty content of file block %d has no place", first+uint32(i))
				}
				if err != nil {
					return batch, nil, err
				}
				part := min(k, int(r.n))
				vecs = append(vecs, blockdev.Vec{Off: int64(r.home) << n.fs.bsLog, Data: p.frame[i<<n.fs.bsLog : (i+part)<<n.fs.bsLog]})
				i += part
				k -= part
			}
		}
	}
	return batch, vecs, nil
}

// finish ends the writing of pages. What failed stays dirty, and is told to the next Sync.
func (n *inode) finish(batch []written, err error) {
	for _, w := range batch {
		if w.p.frame == nil || &w.p.frame[0] != &w.frame[0] {
			// Discarded, or changed meanwhile in another frame.
			n.fs.pages.freeFrame(w.frame)
			if err != nil && w.p.frame != nil {
				n.fs.pages.mark(w.p, w.blocks)
			}
			continue
		}
		w.p.writing = false
		if err != nil {
			n.fs.pages.mark(w.p, w.blocks)
		} else {
			n.fs.pages.settle(w.p)
		}
	}
	if err != nil {
		n.pages.wbErr = err
	}
}

// syncContent is fsync, or fdatasync if dataOnly is set.
func (n *inode) syncContent(dataOnly bool) error {
	fs := n.fs
	if fs.opts.ReadOnly {
		return nil
	}
	err := n.writeback()
	n.mu.Lock()
	if err == nil {
		err = n.pages.wbErr
	}
	n.pages.wbErr = nil
	need := n.sizeTx
	if !dataOnly {
		need = n.attrTx
	}
	n.mu.Unlock()
	if err != nil {
		return err
	}
	if need != 0 {
		if err := fs.commit(need); err != nil {
			return err
		}
	}
	return fs.dev.Flush()
}

// Sync implements vfs.Node.
func (n *inode) Sync(dataOnly bool) abi.Errno { return errno(n.syncContent(dataOnly)) }
