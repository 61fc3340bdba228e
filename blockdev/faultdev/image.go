package faultdev

import (
	"hash/maphash"
	"slices"
)

const (
	sectorSize = 512
	pageSize   = 4096
	leafPages  = 256
)

// Image is the content of a disk, of which any number of versions are kept cheaply: versions
// share the pages in which they do not differ, and a clone costs a few machine words for each
// MiB. It knows a hash of its content at any time. One goroutine at a time may use it;
// clones are independent of each other.
type Image struct {
	size   int64
	leaves []*leaf
	own    *token
	sum    uint64
}

// token says whose a leaf or a page is: the owner changes it in place, others copy it.
type token struct{ _ byte }

// leaf is a row of pages; nil is a page of zeros.
type leaf struct {
	own   *token
	pages [leafPages]*page
}

type page struct {
	own  *token
	data [pageSize]byte
}

var (
	zeros    [pageSize]byte
	hashSeed = maphash.MakeSeed()
)

// NewImage makes an image with p's content, which it copies.
func NewImage(p []byte) *Image {
	m := NewZeroImage(int64(len(p)))
	for off := 0; off < len(p); off += pageSize {
		m.WriteAt(p[off:min(off+pageSize, len(p))], int64(off))
	}
	return m
}

// NewZeroImage makes an image of size bytes of zeros.
func NewZeroImage(size int64) *Image {
	const leafBytes = leafPages * pageSize
	return &Image{size: size, leaves: make([]*leaf, (size+leafBytes-1)/leafBytes), own: new(token)}
}

// Size returns the image's length in bytes.
func (m *Image) Size() int64 { return m.size }

// Clone returns a second image with the same content.
func (m *Image) Clone() *Image {
	m.own = new(token) // what m had alone is shared from now on
	return &Image{size: m.size, leaves: slices.Clone(m.leaves), own: new(token), sum: m.sum}
}

// Sum is a hash of the content. It differs from process to process.
func (m *Image) Sum() uint64 { return m.sum }

// at returns the content of page i, which must not be changed.
func (m *Image) at(i int64) *[pageSize]byte {
	if l := m.leaves[i/leafPages]; l != nil {
		if p := l.pages[i%leafPages]; p != nil {
			return &p.data
		}
	}
	return &zeros
}

// change returns the content of page i, to be changed.
func (m *Image) change(i int64) *[pageSize]byte {
	l := m.leaves[i/leafPages]
	switch {
	case l == nil:
		l = &leaf{own: m.own}
		m.leaves[i/leafPages] = l
	case l.own != m.own:
		l = &leaf{own: m.own, pages: l.pages}
		m.leaves[i/leafPages] = l
	}
	p := l.pages[i%leafPages]
	switch {
	case p == nil:
		p = &page{own: m.own}
		l.pages[i%leafPages] = p
	case p.own != m.own:
		p = &page{own: m.own, data: p.data}
		l.pages[i%leafPages] = p
	}
	return &p.data
}

// ReadAt fills p from byte offset off; both ends must lie in the image.
func (m *Image) ReadAt(p []byte, off int64) {
	for len(p) > 0 {
		n := copy(p, m.at(off / pageSize)[off%pageSize:])
		p, off = p[n:], off+int64(n)
	}
}

// WriteAt puts p to byte offset off; both ends must lie in the image. Whole sectors are cheapest.
func (m *Image) WriteAt(p []byte, off int64) {
	for len(p) > 0 {
		in := off % sectorSize
		n := min(int64(len(p)), sectorSize-in)
		at := off % pageSize
		if was := m.at(off / pageSize)[at:][:n]; string(was) != string(p[:n]) {
			m.sum -= m.sumOf(off / sectorSize)
			copy(m.change(off / pageSize)[at:], p[:n])
			m.sum += m.sumOf(off / sectorSize)
		}
		p, off = p[n:], off+n
	}
}

// sumOf is a sector's part of the sum: 0 if it is all zeros.
func (m *Image) sumOf(sector int64) uint64 {
	p := m.at(sector * sectorSize / pageSize)
	s := p[sector*sectorSize%pageSize:][:sectorSize]
	if string(s) == string(zeros[:sectorSize]) {
		return 0
	}
	h := maphash.Bytes(hashSeed, s) ^ uint64(sector)*0x9e3779b97f4a7c15
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	return h ^ h>>32
}

// Pages calls f for every page that differs from other's, or, if other is nil, that is not
// zeros. The images have the same size. data must not be changed or kept.
func (m *Image) Pages(other *Image, f func(off int64, data []byte) error) error {
	for i, l := range m.leaves {
		if other == nil && l == nil || other != nil && l == other.leaves[i] {
			continue
		}
		for k := range int64(leafPages) {
			at := int64(i)*leafPages + k
			if at*pageSize >= m.size {
				break
			}
			mine, its := m.at(at), &zeros
			if other != nil {
				its = other.at(at)
			}
			if mine == its || *mine == *its {
				continue
			}
			if err := f(at*pageSize, mine[:min(pageSize, m.size-at*pageSize)]); err != nil {
				return err
			}
		}
	}
	return nil
}
