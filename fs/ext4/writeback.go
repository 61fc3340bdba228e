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

// writeback writes n's dirty content home. It does not flush the device.
func (n *inode) writeback() error {
	n.wbMu.Lock()
	defer n.wbMu.Unlock()
	var batch []written
	var vecs []blockdev.Vec
	for {
		n.mu.Lock()
		var err error
		batch, vecs, err = n.gather(batch[:0], vecs[:0])
		n.mu.Unlock()
		if len(batch) == 0 {
			return err
		}
		werr := err
		if werr == nil {
			if werr = n.fs.dev.WriteV(vecs); werr != nil {
				werr = fmt.Errorf("content of inode %d: %w", n.ino, werr)
			}
		}
		n.mu.Lock()
		n.finish(batch, werr)
		n.mu.Unlock()
		if werr != nil {
			return werr
		}
	}
}

// gather takes dirty pages, lowest first, and says where they go.
func (n *inode) gather(batch []written, vecs []blockdev.Vec) ([]written, []blockdev.Vec, error) {
	t := &n.pages
	byIndex := func(a, b *page) int { return cmp.Compare(a.index, b.index) }
	if !slices.IsSortedFunc(t.list, byIndex) {
		slices.SortFunc(t.list, byIndex)
	}
	perPage := pageSize >> n.fs.bsLog
	taken := 0
	for _, p := range t.list {
		if len(batch) == batchPages {
			break
		}
		taken++
		p.listed = false
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
					t.list = slices.Delete(t.list, 0, taken)
					return batch, nil, err
				}
				part := min(k, int(r.n), perPage)
				vecs = append(vecs, blockdev.Vec{Off: int64(r.home) << n.fs.bsLog, Data: p.frame[i<<n.fs.bsLog : (i+part)<<n.fs.bsLog]})
				i += part
				k -= part
			}
		}
	}
	if taken == len(t.list) {
		clear(t.list)
		t.list = t.list[:0]
	} else {
		t.list = slices.Delete(t.list, 0, taken)
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
