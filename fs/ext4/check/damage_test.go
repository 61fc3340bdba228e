package check

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"pinhole/fs/ext4/disk"
)

// damage is one field of an image with another value.
type damage struct {
	class, field string
	what         string // old and new value
	ino          uint32 // the inode that it is in; 0: none
	patches      []patch
}

type patch struct {
	off  int64
	data []byte
}

func (c damage) String() string { return fmt.Sprintf("%s %s %s", c.class, c.field, c.what) }

// imageMap knows where what is in an image, which is whole.
type imageMap struct {
	raw    []byte
	sb     disk.Superblock
	bs     int
	seed   uint32
	csum   bool
	gdt    []int64 // where each descriptor is
	groups []disk.Group
	r      *rand.Rand
	out    []damage
}

func openMap(t testing.TB, path string) *imageMap {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := &imageMap{raw: raw}
	if err := m.sb.Decode(raw[disk.SuperblockOffset:]); err != nil {
		t.Fatal(err)
	}
	m.bs, m.seed, m.csum = m.sb.BlockSize(), m.sb.Seed(), m.sb.HasROCompat(disk.ROCompatMetadataCsum)
	c := checker{sb: m.sb, r: new(Report)}
	c.setGeometry()
	per := m.bs / m.sb.DescriptorSize()
	for g := range int(m.sb.GroupCount()) {
		off := int64(c.descriptorBlock(uint64(g/per)))*int64(m.bs) + int64(g%per*m.sb.DescriptorSize())
		var d disk.Group
		d.Decode(raw[off:][:m.sb.DescriptorSize()])
		m.gdt = append(m.gdt, off)
		m.groups = append(m.groups, d)
	}
	return m
}

func (m *imageMap) block(b uint64) []byte { return m.raw[int(b)*m.bs:][:m.bs] }

func (m *imageMap) inodeOff(ino uint32) int64 {
	g := m.groups[(ino-1)/m.sb.InodesPerGroup]
	return int64(g.InodeTable)*int64(m.bs) + int64((ino-1)%m.sb.InodesPerGroup)*int64(m.sb.InodeSize)
}

func (m *imageMap) inode(ino uint32) (n disk.Inode) {
	n.Decode(m.raw[m.inodeOff(ino):][:m.sb.InodeSize])
	return n
}

// blocks returns the blocks of an inode's content, and of its map.
func (m *imageMap) blocks(ino uint32) (data, tree []uint64) {
	n := m.inode(ino)
	var node func(p []byte)
	node = func(p []byte) {
		var h disk.ExtentHeader
		h.Decode(p)
		for i := range int(h.Entries) {
			raw := p[12+12*i:]
			if h.Depth > 0 {
				var x disk.ExtentIndex
				x.Decode(raw)
				tree = append(tree, x.Child)
				node(m.block(x.Child))
				continue
			}
			var e disk.Extent
			e.Decode(raw)
			for k := range uint64(e.Len) {
				data = append(data, e.Start+k)
			}
		}
	}
	if n.Flags&disk.InodeExtents != 0 {
		node(n.Block[:])
		return data, tree
	}
	var ind func(b uint64, depth int)
	ind = func(b uint64, depth int) {
		if b == 0 {
			return
		}
		if depth == 0 {
			data = append(data, b)
			return
		}
		tree = append(tree, b)
		p := m.block(b)
		for ; len(p) > 0; p = p[4:] {
			ind(uint64(le.Uint32(p)), depth-1)
		}
	}
	for i := range 15 {
		ind(uint64(le.Uint32(n.Block[4*i:])), max(i-11, 0))
	}
	return data, tree
}

// lookup finds a name in the root.
func (m *imageMap) lookup(name string) uint32 {
	data, _ := m.blocks(disk.RootInode)
	for _, b := range data {
		p := m.block(b)
		for at := 0; at < len(p); {
			var e disk.Dirent
			e.Decode(p[at:])
			if string(p[at+8:][:e.NameLen]) == name {
				return e.Ino
			}
			at += e.RecLen
		}
	}
	panic("no " + name)
}

func (m *imageMap) dirBlock(t testing.TB, name string, i int) uint64 {
	data, _ := m.blocks(m.lookup(name))
	return data[i]
}

// Fields of a structure: name, place, size in bytes.
type field struct {
	name    string
	off, n  int
	big     bool // big-endian, as in the journal
	noCheck bool
}

// values returns what to put in place of v.
func (m *imageMap) values(v uint64, n int) []uint64 {
	most := uint64(1)<<(8*n) - 1
	if n == 8 {
		most = ^uint64(0)
	}
	all := []uint64{0, 1, 2, 3, v + 1, v - 1, most, v ^ 1<<m.r.IntN(8*n), m.r.Uint64(), v ^ 1<<m.r.IntN(8*n)}
	var out []uint64
	for _, w := range all {
		if w &= most; w != v && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	m.r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(4, len(out))]
}

// change makes the cases of one field of the structure in the size bytes at off. fix, if not nil, mends
// the checksums of a copy of the structure, and returns patches for others.
func (m *imageMap) change(class string, ino uint32, off int64, size int, f field, fix func(p []byte) []patch) {
	p := m.raw[off:][:size]
	var order binary.ByteOrder = binary.LittleEndian
	if f.big {
		order = binary.BigEndian
	}
	var word [8]byte
	copy(word[:], p[f.off:][:f.n])
	v := le.Uint64(word[:])
	if f.big {
		v = 0
		for _, b := range p[f.off:][:f.n] {
			v = v<<8 | uint64(b)
		}
	}
	for _, w := range m.values(v, f.n) {
		for _, mend := range []bool{false, true} {
			if mend && fix == nil {
				continue
			}
			q := slices.Clone(p)
			var b [8]byte
			order.PutUint64(b[:], w)
			if f.big {
				copy(q[f.off:][:f.n], b[8-f.n:])
			} else {
				copy(q[f.off:][:f.n], b[:])
			}
			c := damage{class: class, field: f.name, ino: ino, what: fmt.Sprintf("%#x -> %#x", v, w)}
			if mend {
				c.what += ", checksum mended"
				c.patches = fix(q)
			}
			c.patches = append([]patch{{off, q}}, c.patches...)
			if ino != 0 {
				c.what += fmt.Sprintf(", inode %d", ino)
			}
			m.out = append(m.out, c)
		}
	}
}

// cases makes all damages.
func (m *imageMap) cases(r *rand.Rand) []damage {
	m.r = r
	m.super()
	m.descriptors()
	m.bitmaps()
	m.journal()
	inodes := []uint32{1, 2, 7, 8, 11}
	for _, name := range []string{"small", "hard", "empty", "large", "sparse", "big", "many", "a", "link", "longlink", "chr", "blk", "fifo"} {
		inodes = append(inodes, m.lookup(name))
	}
	if m.sb.OrphanFileInum != 0 {
		inodes = append(inodes, m.sb.OrphanFileInum)
	}
	inodes = append(inodes, m.unusedInode())
	for _, ino := range inodes {
		m.inodeFields(ino)
		m.content(ino)
	}
	return m.out
}

// unusedInode returns an inode of the first group that was never used.
func (m *imageMap) unusedInode() uint32 {
	for ino := m.sb.FirstIno; ; ino++ {
		if n := m.inode(ino); n.Links == 0 {
			return ino
		}
	}
}

func (m *imageMap) super() {
	var fields []field
	for _, f := range []struct {
		name string
		off  int
		n    int
	}{
		{"inodes_count", 0, 4}, {"blocks_count", 4, 4}, {"r_blocks_count", 8, 4}, {"free_blocks", 0xc, 4}, {"free_inodes", 0x10, 4},
		{"first_data_block", 0x14, 4}, {"log_block_size", 0x18, 4}, {"log_cluster_size", 0x1c, 4}, {"blocks_per_group", 0x20, 4},
		{"clusters_per_group", 0x24, 4}, {"inodes_per_group", 0x28, 4}, {"mtime", 0x2c, 4}, {"wtime", 0x30, 4}, {"mnt_count", 0x34, 2},
		{"max_mnt_count", 0x36, 2}, {"magic", 0x38, 2}, {"state", 0x3a, 2}, {"errors", 0x3c, 2}, {"minor_rev", 0x3e, 2},
		{"lastcheck", 0x40, 4}, {"checkinterval", 0x44, 4}, {"creator_os", 0x48, 4}, {"rev_level", 0x4c, 4}, {"def_resuid", 0x50, 2},
		{"first_ino", 0x54, 4}, {"inode_size", 0x58, 2}, {"block_group_nr", 0x5a, 2}, {"feature_compat", 0x5c, 4},
		{"feature_incompat", 0x60, 4}, {"feature_ro_compat", 0x64, 4}, {"uuid", 0x68, 4}, {"volume_name", 0x78, 4}, {"prealloc", 0xcc, 2},
		{"reserved_gdt_blocks", 0xce, 2}, {"journal_uuid", 0xd0, 4}, {"journal_inum", 0xe0, 4}, {"journal_dev", 0xe4, 4},
		{"last_orphan", 0xe8, 4}, {"hash_seed", 0xec, 4}, {"def_hash_version", 0xfc, 1}, {"jnl_backup_type", 0xfd, 1},
		{"desc_size", 0xfe, 2}, {"first_meta_bg", 0x104, 4}, {"mkfs_time", 0x108, 4}, {"jnl_blocks", 0x10c, 4}, {"blocks_count_hi", 0x150, 4},
		{"r_blocks_hi", 0x154, 4}, {"free_blocks_hi", 0x158, 4}, {"min_extra_isize", 0x15c, 2}, {"want_extra_isize", 0x15e, 2},
		{"flags", 0x160, 4}, {"raid_stride", 0x164, 2}, {"mmp_interval", 0x166, 2}, {"mmp_block", 0x168, 8}, {"log_groups_per_flex", 0x174, 1},
		{"checksum_type", 0x175, 1}, {"kbytes_written", 0x178, 8}, {"error_count", 0x194, 4}, {"overhead", 0x248, 4}, {"backup_bgs", 0x24c, 4},
		{"lpf_ino", 0x268, 4}, {"checksum_seed", 0x270, 4}, {"encoding", 0x27c, 2}, {"orphan_file_inum", 0x280, 4}, {"checksum", 0x3fc, 4},
	} {
		fields = append(fields, field{name: f.name, off: f.off, n: f.n})
	}
	for _, f := range fields {
		m.change("super", 0, disk.SuperblockOffset, disk.SuperblockSize, f, m.fixSuper(f))
	}
	// Each feature on its own.
	for _, w := range []field{{name: "compat bit", off: 0x5c}, {name: "incompat bit", off: 0x60}, {name: "ro_compat bit", off: 0x64}} {
		for bit := range 20 {
			p := slices.Clone(m.raw[disk.SuperblockOffset:][:disk.SuperblockSize])
			le.PutUint32(p[w.off:], le.Uint32(p[w.off:])^1<<bit)
			fixSuperCopy(p)
			m.out = append(m.out, damage{class: "feature", field: w.name, what: fmt.Sprintf("%#x, checksum mended", 1<<bit), patches: []patch{{disk.SuperblockOffset, p}}})
		}
	}
	// Copies.
	for g := 1; g < len(m.groups); g++ {
		if m.sb.HasSuper(uint32(g)) {
			off := (int64(m.sb.FirstDataBlock) + int64(g)*int64(m.sb.BlocksPerGroup)) * int64(m.bs)
			for _, i := range []int{0, 3, 20, 38} {
				m.change("super copy", 0, off, disk.SuperblockSize, fields[i], m.fixSuper(fields[i]))
			}
		}
	}
}

func (m *imageMap) fixSuper(f field) func(p []byte) []patch {
	if !m.csum || f.name == "checksum" {
		return nil
	}
	return func(p []byte) []patch { fixSuperCopy(p); return nil }
}

func fixSuperCopy(p []byte) {
	if le.Uint32(p[0x64:])&disk.ROCompatMetadataCsum != 0 {
		le.PutUint32(p[0x3fc:], disk.SuperblockChecksum(p))
	}
}

func (m *imageMap) descriptors() {
	size := m.sb.DescriptorSize()
	groups := []int{0, min(1, len(m.groups)-1), len(m.groups) - 1, m.r.IntN(len(m.groups))}
	for _, g := range groups {
		fix := func(p []byte) []patch { m.sb.SetGroupChecksum(uint32(g), p); return nil }
		if m.sb.FeatureROCompat&(disk.ROCompatMetadataCsum|disk.ROCompatGDTCsum) == 0 {
			fix = nil
		}
		for _, f := range []field{
			{name: "block_bitmap", off: 0, n: 4}, {name: "inode_bitmap", off: 4, n: 4}, {name: "inode_table", off: 8, n: 4}, {name: "free_blocks", off: 0xc, n: 2},
			{name: "free_inodes", off: 0xe, n: 2}, {name: "used_dirs", off: 0x10, n: 2}, {name: "flags", off: 0x12, n: 2}, {name: "exclude", off: 0x14, n: 4},
			{name: "block_csum", off: 0x18, n: 2}, {name: "inode_csum", off: 0x1a, n: 2}, {name: "itable_unused", off: 0x1c, n: 2}, {name: "checksum", off: 0x1e, n: 2},
			{name: "block_bitmap_hi", off: 0x20, n: 4}, {name: "inode_bitmap_hi", off: 0x24, n: 4}, {name: "inode_table_hi", off: 0x28, n: 4},
			{name: "free_blocks_hi", off: 0x2c, n: 2}, {name: "free_inodes_hi", off: 0x2e, n: 2}, {name: "used_dirs_hi", off: 0x30, n: 2},
			{name: "itable_unused_hi", off: 0x32, n: 2}, {name: "block_csum_hi", off: 0x38, n: 2}, {name: "inode_csum_hi", off: 0x3a, n: 2}, {name: "reserved", off: 0x3c, n: 4},
		} {
			if f.off+f.n > size {
				continue
			}
			x := fix
			if f.name == "checksum" {
				x = nil
			}
			m.change("descriptor", 0, m.gdt[g], size, f, x)
		}
	}
}

func (m *imageMap) bitmaps() {
	size := m.sb.DescriptorSize()
	for g, d := range m.groups {
		for _, x := range []struct {
			name   string
			b      uint64
			uninit uint16
			bits   int
			lo, hi int
		}{
			{"block bitmap", d.BlockBitmap, disk.GroupBlockUninit, int(m.sb.BlocksPerGroup), 0x18, 0x38},
			{"inode bitmap", d.InodeBitmap, disk.GroupInodeUninit, int(m.sb.InodesPerGroup), 0x1a, 0x3a},
		} {
			fix := func(p []byte) []patch {
				q := slices.Clone(m.raw[m.gdt[g]:][:size])
				if m.csum {
					sum := disk.BitmapChecksum(m.seed, p, x.bits/8)
					le.PutUint16(q[x.lo:], uint16(sum))
					if size >= 64 {
						le.PutUint16(q[x.hi:], uint16(sum>>16))
					}
				}
				m.sb.SetGroupChecksum(uint32(g), q)
				return []patch{{m.gdt[g], q}}
			}
			if !m.csum {
				fix = nil
			}
			for _, at := range []int{0, m.r.IntN(x.bits / 8), m.r.IntN(m.bs), x.bits/8 - 1, m.bs - 1} {
				f := field{name: fmt.Sprintf("group %d byte %d", g, at), off: at, n: 1}
				if d.Flags&x.uninit != 0 {
					f.name += " uninit"
				}
				m.change(x.name, 0, int64(x.b)*int64(m.bs), m.bs, f, fix)
			}
		}
	}
}

func (m *imageMap) journal() {
	if m.sb.JournalInum == 0 {
		return
	}
	data, _ := m.blocks(m.sb.JournalInum)
	fix := func(p []byte) []patch {
		var s disk.JournalSuper
		if s.Decode(p); s.HasChecksum() {
			sum := disk.JournalSuperChecksum(p)
			binary.BigEndian.PutUint32(p[0xfc:], sum)
		}
		return nil
	}
	for _, f := range []field{
		{name: "magic", off: 0, n: 4}, {name: "type", off: 4, n: 4}, {name: "header seq", off: 8, n: 4}, {name: "blocksize", off: 0xc, n: 4},
		{name: "maxlen", off: 0x10, n: 4}, {name: "first", off: 0x14, n: 4}, {name: "sequence", off: 0x18, n: 4}, {name: "start", off: 0x1c, n: 4},
		{name: "errno", off: 0x20, n: 4}, {name: "compat", off: 0x24, n: 4}, {name: "incompat", off: 0x28, n: 4}, {name: "ro_compat", off: 0x2c, n: 4},
		{name: "uuid", off: 0x30, n: 4}, {name: "nr_users", off: 0x40, n: 4}, {name: "dynsuper", off: 0x44, n: 4}, {name: "max_trans", off: 0x48, n: 4},
		{name: "max_trans_data", off: 0x4c, n: 4}, {name: "checksum_type", off: 0x50, n: 1}, {name: "num_fc_blks", off: 0x54, n: 4}, {name: "head", off: 0x58, n: 4},
		{name: "checksum", off: 0xfc, n: 4}, {name: "users", off: 0x100, n: 4},
	} {
		f.big = true
		x := fix
		if f.name == "checksum" {
			x = nil
		}
		m.change("journal", m.sb.JournalInum, int64(data[0])*int64(m.bs), disk.JournalSuperSize, f, x)
	}
}

// fixInode mends an inode's checksum.
func (m *imageMap) fixInode(ino uint32) func(p []byte) []patch {
	if !m.csum {
		return nil
	}
	return func(p []byte) []patch {
		disk.SetInodeChecksum(disk.InodeSeed(m.seed, ino, le.Uint32(p[0x64:])), p)
		return nil
	}
}

func (m *imageMap) inodeFields(ino uint32) {
	class := "inode"
	size := int(m.sb.InodeSize)
	n := m.inode(ino)
	fields := []field{
		{name: "mode", off: 0, n: 2}, {name: "uid", off: 2, n: 2}, {name: "size_lo", off: 4, n: 4}, {name: "atime", off: 8, n: 4}, {name: "ctime", off: 0xc, n: 4},
		{name: "mtime", off: 0x10, n: 4}, {name: "dtime", off: 0x14, n: 4}, {name: "gid", off: 0x18, n: 2}, {name: "links", off: 0x1a, n: 2}, {name: "blocks_lo", off: 0x1c, n: 4},
		{name: "flags", off: 0x20, n: 4}, {name: "version", off: 0x24, n: 4}, {name: "generation", off: 0x64, n: 4}, {name: "file_acl", off: 0x68, n: 4},
		{name: "size_hi", off: 0x6c, n: 4}, {name: "faddr", off: 0x70, n: 4}, {name: "blocks_hi", off: 0x74, n: 2}, {name: "file_acl_hi", off: 0x76, n: 2},
		{name: "uid_hi", off: 0x78, n: 2}, {name: "gid_hi", off: 0x7a, n: 2}, {name: "checksum_lo", off: 0x7c, n: 2}, {name: "reserved", off: 0x7e, n: 2},
		{name: "extra_isize", off: 0x80, n: 2}, {name: "checksum_hi", off: 0x82, n: 2}, {name: "ctime_extra", off: 0x84, n: 4}, {name: "mtime_extra", off: 0x88, n: 4},
		{name: "atime_extra", off: 0x8c, n: 4}, {name: "crtime", off: 0x90, n: 4}, {name: "crtime_extra", off: 0x94, n: 4}, {name: "version_hi", off: 0x98, n: 4},
		{name: "projid", off: 0x9c, n: 4},
	}
	for _, f := range fields {
		if f.off+f.n > size {
			continue
		}
		fix := m.fixInode(ino)
		if f.name == "checksum_lo" || f.name == "checksum_hi" {
			fix = nil
		}
		m.change(class, ino, m.inodeOff(ino), size, f, fix)
	}
	// The root of the map.
	if n.Flags&disk.InodeExtents != 0 {
		m.extentFields("extent root", ino, m.inodeOff(ino), size, disk.BlockAreaOffset, m.fixInode(ino))
	} else {
		for i := range 15 {
			m.change("block map", ino, m.inodeOff(ino), size, field{name: fmt.Sprintf("i_block[%d]", i), off: disk.BlockAreaOffset + 4*i, n: 4}, m.fixInode(ino))
		}
	}
	// Attributes in the inode.
	if at := disk.GoodOldInodeSize + int(n.ExtraIsize); at+4 < size && le.Uint32(m.raw[m.inodeOff(ino)+int64(at):]) == disk.XattrMagic {
		m.xattrFields("xattr in inode", ino, m.inodeOff(ino), size, at, 4, m.fixInode(ino))
	}
}

// extentFields damages the node that starts head bytes into the structure.
func (m *imageMap) extentFields(class string, ino uint32, off int64, size, head int, fix func([]byte) []patch) {
	var h disk.ExtentHeader
	h.Decode(m.raw[off+int64(head):])
	fields := []field{{name: "magic", n: 2}, {name: "entries", off: 2, n: 2}, {name: "max", off: 4, n: 2}, {name: "depth", off: 6, n: 2}, {name: "generation", off: 8, n: 4}}
	for _, i := range []int{0, int(h.Entries) - 1, m.r.IntN(max(int(h.Entries), 1))} {
		if i < 0 {
			continue
		}
		at := 12 + 12*i
		if h.Depth == 0 {
			fields = append(fields, field{name: "block", off: at, n: 4}, field{name: "len", off: at + 4, n: 2}, field{name: "start_hi", off: at + 6, n: 2}, field{name: "start", off: at + 8, n: 4})
		} else {
			fields = append(fields, field{name: "index block", off: at, n: 4}, field{name: "leaf", off: at + 4, n: 4}, field{name: "leaf_hi", off: at + 8, n: 2}, field{name: "unused", off: at + 10, n: 2})
		}
	}
	for _, f := range fields {
		f.off += head
		m.change(class, ino, off, size, f, fix)
	}
}

func (m *imageMap) xattrFields(class string, ino uint32, off int64, size, at, head int, fix func([]byte) []patch) {
	p := m.raw[off:][:size]
	fields := []field{{name: "magic", off: at, n: 4}}
	if head == disk.XattrBlockHeader {
		fields = append(fields, field{name: "refcount", off: at + 4, n: 4}, field{name: "blocks", off: at + 8, n: 4}, field{name: "hash", off: at + 12, n: 4}, field{name: "reserved", off: at + 20, n: 4})
	}
	for e := at + head; e+16 < size && le.Uint32(p[e:]) != 0; {
		for _, f := range []field{{name: "name_len", n: 1}, {name: "name_index", off: 1, n: 1}, {name: "value_offs", off: 2, n: 2}, {name: "value_inum", off: 4, n: 4},
			{name: "value_size", off: 8, n: 4}, {name: "e_hash", off: 12, n: 4}, {name: "name", off: 16, n: 1}} {
			f.off += e
			fields = append(fields, f)
		}
		e += disk.XattrEntryLen(int(p[e]))
	}
	fields = append(fields, field{name: "value", off: size - 4, n: 4})
	for _, f := range fields {
		m.change(class, ino, off, size, f, fix)
	}
}

// content damages an inode's tree, directory blocks, and attributes.
func (m *imageMap) content(ino uint32) {
	n := m.inode(ino)
	if n.Links == 0 && ino != disk.JournalInode {
		return
	}
	seed := disk.InodeSeed(m.seed, ino, n.Generation)
	if n.FileACL != 0 {
		var fix func(p []byte) []patch
		if m.csum {
			fix = func(p []byte) []patch { disk.SetXattrChecksum(m.seed, n.FileACL, p); return nil }
		}
		m.xattrFields("xattr block", ino, int64(n.FileACL)*int64(m.bs), m.bs, 0, disk.XattrBlockHeader, fix)
	}
	if !hasMap(&n) {
		return
	}
	data, tree := m.blocks(ino)
	for _, b := range m.some(tree, 3) {
		off := int64(b) * int64(m.bs)
		if n.Flags&disk.InodeExtents != 0 {
			var fix func(p []byte) []patch
			if m.csum {
				fix = func(p []byte) []patch { disk.SetExtentChecksum(seed, p, disk.ExtentBlockMax(m.bs)); return nil }
			}
			m.extentFields("extent node", ino, off, m.bs, 0, fix)
			m.change("extent node", ino, off, m.bs, field{name: "checksum", off: disk.ExtentTailOffset(disk.ExtentBlockMax(m.bs)), n: 4}, nil)
			continue
		}
		class := "indirect block"
		if ino == disk.ResizeInode {
			class = "resize inode"
		}
		for _, i := range []int{0, 1, m.r.IntN(m.bs / 4)} {
			m.change(class, ino, off, m.bs, field{name: fmt.Sprintf("entry %d", i), off: 4 * i, n: 4}, nil)
		}
	}
	switch {
	case n.Mode&modeType == modeDir:
		m.directory(ino, &n, seed, data)
	case ino == m.sb.OrphanFileInum:
		b := data[m.r.IntN(len(data))]
		fix := func(p []byte) []patch { disk.SetOrphanTail(seed, b, p, m.csum); return nil }
		off := int64(b) * int64(m.bs)
		m.change("orphan file", ino, off, m.bs, field{name: "slot", off: 4 * m.r.IntN(100), n: 4}, fix)
		m.change("orphan file", ino, off, m.bs, field{name: "magic", off: m.bs - 8, n: 4}, nil)
		m.change("orphan file", ino, off, m.bs, field{name: "checksum", off: m.bs - 4, n: 4}, nil)
	case n.Mode&modeType == modeLnk && len(data) == 1:
		m.change("symlink", ino, int64(data[0])*int64(m.bs), m.bs, field{name: "target", off: int(n.Size) - 1, n: 1}, nil)
		m.change("symlink", ino, int64(data[0])*int64(m.bs), m.bs, field{name: "end", off: int(n.Size), n: 1}, nil)
	}
}

// some returns up to n of list, with the first.
func (m *imageMap) some(list []uint64, n int) []uint64 {
	if len(list) <= n {
		return list
	}
	out := []uint64{list[0]}
	for len(out) < n {
		out = append(out, list[1+m.r.IntN(len(list)-1)])
	}
	return out
}

func (m *imageMap) directory(ino uint32, n *disk.Inode, seed uint32, data []uint64) {
	indexed := n.Flags&disk.InodeIndex != 0
	for i, b := range data {
		if i > 3 && m.r.IntN(len(data)) > 4 {
			continue
		}
		p := m.block(b)
		off := int64(b) * int64(m.bs)
		var first disk.Dirent
		first.Decode(p)
		node := indexed && i > 0 && first.Ino == 0 && first.RecLen == m.bs
		if indexed && i == 0 || node {
			m.htree(ino, seed, off, p, node)
			continue
		}
		var fix func(p []byte) []patch
		if m.csum {
			fix = func(p []byte) []patch { disk.SetDirChecksum(seed, p); return nil }
			t := m.bs - 12
			for _, f := range []field{{name: "tail inode", off: t, n: 4}, {name: "tail rec_len", off: t + 4, n: 2}, {name: "tail name_len", off: t + 6, n: 1}, {name: "tail type", off: t + 7, n: 1}, {name: "tail checksum", off: t + 8, n: 4}} {
				m.change("directory", ino, off, m.bs, f, nil)
			}
		}
		var at []int
		for e := 0; e < m.bs; {
			var d disk.Dirent
			d.Decode(p[e:])
			at = append(at, e)
			e += d.RecLen
		}
		for k, e := range at {
			if k > 2 && m.r.IntN(len(at)) > 2 {
				continue
			}
			for _, f := range []field{{name: "inode", n: 4}, {name: "rec_len", off: 4, n: 2}, {name: "name_len", off: 6, n: 1}, {name: "file_type", off: 7, n: 1}, {name: "name", off: 8, n: 1}, {name: "name+1", off: 9, n: 1}} {
				f.off += e
				if f.off+f.n <= m.bs {
					m.change("directory", ino, off, m.bs, f, fix)
				}
			}
		}
	}
}

func (m *imageMap) htree(ino uint32, seed uint32, off int64, p []byte, node bool) {
	start := disk.HtreeRootOffset
	var fields []field
	if node {
		start = disk.HtreeNodeOffset
		fields = append(fields, field{name: "fake inode", n: 4}, field{name: "fake rec_len", off: 4, n: 2}, field{name: "fake name_len", off: 6, n: 1})
	} else {
		fields = append(fields, field{name: "dot inode", n: 4}, field{name: "dot rec_len", off: 4, n: 2}, field{name: "dotdot inode", off: 12, n: 4}, field{name: "dotdot rec_len", off: 16, n: 2},
			field{name: "reserved", off: 24, n: 4}, field{name: "hash_version", off: 28, n: 1}, field{name: "info_length", off: 29, n: 1}, field{name: "levels", off: 30, n: 1}, field{name: "flags", off: 31, n: 1})
	}
	e := disk.HtreeEntries(p[start:])
	fields = append(fields, field{name: "limit", off: start, n: 2}, field{name: "count", off: start + 2, n: 2}, field{name: "block 0", off: start + 4, n: 4})
	for _, i := range []int{1, e.Count() - 1, 1 + m.r.IntN(max(e.Count()-1, 1))} {
		if i > 0 && i < e.Count() {
			fields = append(fields, field{name: "hash", off: start + 8*i, n: 4}, field{name: "block", off: start + 8*i + 4, n: 4})
		}
	}
	var fix func(p []byte) []patch
	if m.csum {
		limit := e.Limit()
		fix = func(p []byte) []patch {
			if n := disk.HtreeEntries(p[start:]).Count(); n <= limit {
				disk.SetHtreeChecksum(seed, p, start, limit, n)
			}
			return nil
		}
		m.change("htree", ino, off, m.bs, field{name: "checksum", off: start + limit*8 + 4, n: 4}, nil)
	}
	for _, f := range fields {
		m.change("htree", ino, off, m.bs, f, fix)
	}
}
