package disk

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tool runs a program of e2fsprogs, or skips the test where it is missing.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Skipf("%s of e2fsprogs is not installed", name)
		}
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// makeImage runs mkfs.ext4 over a small tree and returns the image's path and content.
func makeImage(t *testing.T, opts ...string) (string, []byte) {
	t.Helper()
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	for _, d := range []string{"big", "small"} {
		if err := os.MkdirAll(filepath.Join(src, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		name := fmt.Sprintf("file-with-a-rather-long-name-%04d", i)
		if err := os.WriteFile(filepath.Join(src, "big", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(src, "small", "content"), bytes.Repeat([]byte("abcd"), 5000), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("small/content", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(dir, "image")
	tool(t, "mkfs.ext4", append(append([]string{"-q", "-F", "-d", src}, opts...), img, "32M")...)
	// mke2fs leaves long directories linear; e2fsck -D gives them a hash tree.
	exec.Command("/usr/sbin/e2fsck", "-fyD", img).Run()
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return img, b
}

var variants = map[string][]string{
	"1k":      {"-b", "1024"},
	"2k":      {"-b", "2048"},
	"4k":      {"-b", "4096"},
	"32bit":   {"-b", "1024", "-O", "^64bit"},
	"nocsum":  {"-b", "1024", "-O", "^metadata_csum,uninit_bg"},
	"inode":   {"-b", "1024", "-I", "128"},
	"seed":    {"-b", "4096", "-O", "metadata_csum_seed"},
	"sparse2": {"-b", "1024", "-O", "sparse_super2"},
}

func TestSuperblockGolden(t *testing.T) {
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			path, img := makeImage(t, opts...)
			raw := img[SuperblockOffset:][:SuperblockSize]
			var sb Superblock
			if err := sb.Decode(raw); err != nil {
				t.Fatal(err)
			}
			var out [SuperblockSize]byte
			sb.Encode(out[:])
			if d := cmp.Diff(hex.Dump(raw), hex.Dump(out[:])); d != "" {
				t.Errorf("encoding differs from the disk:\n%s", d)
			}
			dump := tool(t, "dumpe2fs", "-h", path)
			field := func(label string) string {
				m := regexp.MustCompile(`(?m)^` + label + `:\s*(.*?)\s*$`).FindStringSubmatch(dump)
				if m == nil {
					t.Fatalf("dumpe2fs does not say %q", label)
				}
				return m[1]
			}
			got := map[string]string{
				"Inode count":      fmt.Sprint(sb.InodesCount),
				"Block count":      fmt.Sprint(sb.BlocksCount),
				"Free blocks":      fmt.Sprint(sb.FreeBlocksCount),
				"Free inodes":      fmt.Sprint(sb.FreeInodesCount),
				"First block":      fmt.Sprint(sb.FirstDataBlock),
				"Block size":       fmt.Sprint(sb.BlockSize()),
				"Blocks per group": fmt.Sprint(sb.BlocksPerGroup),
				"Inodes per group": fmt.Sprint(sb.InodesPerGroup),
				"First inode":      fmt.Sprint(sb.FirstIno),
				"Inode size":       fmt.Sprint(sb.InodeSize),
				"Journal inode":    fmt.Sprint(sb.JournalInum),
				"Filesystem features": strings.ReplaceAll(strings.Join([]string{
					FeatureNames(Compat, sb.FeatureCompat), FeatureNames(Incompat, sb.FeatureIncompat),
					FeatureNames(ROCompat, sb.FeatureROCompat)}, ","), ",", " "),
			}
			want := map[string]string{}
			for k := range got {
				want[k] = field(k)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("against dumpe2fs (-want +got):\n%s", d)
			}
		})
	}
}

func TestGroupGolden(t *testing.T) {
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			_, img := makeImage(t, opts...)
			var sb Superblock
			if err := sb.Decode(img[SuperblockOffset:]); err != nil {
				t.Fatal(err)
			}
			bs := sb.BlockSize()
			size := sb.DescriptorSize()
			table := img[(int(sb.FirstDataBlock)+1)*bs:]
			var free uint64
			for g := range uint32(sb.GroupCount()) {
				raw := table[int(g)*size:][:size]
				var d Group
				d.Decode(raw)
				if want := sb.GroupChecksum(g, raw); d.Checksum != want {
					t.Errorf("group %d: checksum %#x, computed %#x", g, d.Checksum, want)
				}
				out := bytes.Clone(raw)
				clear(out[:groupChecksumOffset+2])
				copy(out[0x14:0x18], raw[0x14:])
				d.Encode(out)
				sb.SetGroupChecksum(g, out)
				if d := cmp.Diff(hex.Dump(raw), hex.Dump(out)); d != "" {
					t.Errorf("group %d: encoding differs from the disk:\n%s", g, d)
				}
				free += uint64(d.FreeBlocks)
				if sb.HasROCompat(ROCompatMetadataCsum) {
					bm := img[int(d.BlockBitmap)*bs:]
					sum := BitmapChecksum(sb.Seed(), bm, int(sb.BlocksPerGroup/8))
					if size < MinDescSize64 {
						sum &= 0xffff
					}
					if d.Flags&GroupBlockUninit == 0 && sum != d.BlockCsum {
						t.Errorf("group %d: block bitmap checksum %#x, computed %#x", g, d.BlockCsum, sum)
					}
				}
				if has := sb.HasSuper(g); g > 0 && has != (le.Uint16(img[(int(g)*int(sb.BlocksPerGroup)+int(sb.FirstDataBlock))*bs+0x38:]) == Magic) {
					t.Errorf("group %d: HasSuper = %v", g, has)
				}
			}
			if free != sb.FreeBlocksCount {
				t.Errorf("groups have %d free blocks, superblock says %d", free, sb.FreeBlocksCount)
			}
		})
	}
}

// inodeAt finds an inode in the image.
func inodeAt(img []byte, sb *Superblock, ino uint32) []byte {
	bs := sb.BlockSize()
	size := sb.DescriptorSize()
	var g Group
	g.Decode(img[(int(sb.FirstDataBlock)+1)*bs+int((ino-1)/sb.InodesPerGroup)*size:][:size])
	off := int(g.InodeTable)*bs + int((ino-1)%sb.InodesPerGroup)*int(sb.InodeSize)
	return img[off:][:sb.InodeSize]
}

func TestInodeAndTreeGolden(t *testing.T) {
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			path, img := makeImage(t, opts...)
			var sb Superblock
			if err := sb.Decode(img[SuperblockOffset:]); err != nil {
				t.Fatal(err)
			}
			bs := sb.BlockSize()
			for _, file := range []string{"/", "/big", "/small", "/small/content", "/link"} {
				stat := tool(t, "debugfs", "-R", "stat "+file, path)
				num := func(re string) uint64 {
					m := regexp.MustCompile(re).FindStringSubmatch(stat)
					if m == nil {
						t.Fatalf("debugfs stat %s does not match %s:\n%s", file, re, stat)
					}
					v, err := strconv.ParseUint(m[1], 0, 64)
					if err != nil {
						t.Fatal(err)
					}
					return v
				}
				ino := uint32(num(`Inode: (\d+)`))
				raw := inodeAt(img, &sb, ino)
				var in Inode
				in.Decode(raw)
				got := []uint64{uint64(in.Mode & 0o7777), uint64(in.Size), uint64(in.Links), in.Blocks, uint64(in.Flags), uint64(in.Generation)}
				want := []uint64{num(`Mode:\s+(\d+)`), num(`Size: (\d+)`), num(`Links: (\d+)`), num(`Blockcount: (\d+)`), num(`Flags: (0x[0-9a-f]+)`), num(`Generation: (\d+)`)}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s against debugfs (-want +got):\n%s", file, d)
				}
				out := bytes.Clone(raw)
				in.Encode(out)
				seed := InodeSeed(sb.Seed(), ino, in.Generation)
				if sb.HasROCompat(ROCompatMetadataCsum) {
					SetInodeChecksum(seed, out)
				}
				if d := cmp.Diff(hex.Dump(raw), hex.Dump(out)); d != "" {
					t.Errorf("%s: encoding differs from the disk:\n%s", file, d)
				}
				if in.Flags&InodeExtents == 0 {
					continue
				}
				var h ExtentHeader
				h.Decode(in.Block[:])
				if h.Magic != ExtentMagic || h.Depth != 0 || h.Entries == 0 {
					t.Errorf("%s: extent header %+v", file, h)
					continue
				}
				var e Extent
				e.Decode(in.Block[ExtentHeaderSize:])
				var again [ExtentSize]byte
				e.Encode(again[:])
				if !bytes.Equal(again[:], in.Block[ExtentHeaderSize:][:ExtentSize]) {
					t.Errorf("%s: extent %+v does not encode as it was", file, e)
				}
				if in.Mode&0xf000 == 0x4000 {
					checkDirBlocks(t, &sb, seed, file, img[int(e.Start)*bs:][:int(e.Len)*bs], in.Flags&InodeIndex != 0)
				}
			}
		})
	}
}

func checkDirBlocks(t *testing.T, sb *Superblock, seed uint32, file string, b []byte, indexed bool) {
	bs := sb.BlockSize()
	csum := sb.HasROCompat(ROCompatMetadataCsum)
	var leafHash = map[uint32]uint32{}
	for i := 0; i < len(b)/bs; i++ {
		block := b[i*bs:][:bs]
		if i == 0 && indexed {
			var info HtreeInfo
			info.Decode(block)
			e := HtreeEntries(block[HtreeRootOffset:])
			if info.InfoLen != HtreeInfoLen || info.Levels != 0 {
				t.Errorf("%s: root info %+v", file, info)
			}
			if e.Limit() != HtreeLimit(bs, HtreeRootOffset, csum) {
				t.Errorf("%s: limit %d, computed %d", file, e.Limit(), HtreeLimit(bs, HtreeRootOffset, csum))
			}
			if csum && StoredHtreeChecksum(block, HtreeRootOffset, e.Limit()) != HtreeChecksum(seed, block, HtreeRootOffset, e.Limit(), e.Count()) {
				t.Errorf("%s: wrong checksum of the htree root", file)
			}
			for k := range e.Count() {
				leafHash[e.Block(k)] = e.Hash(k)
			}
			continue
		}
		if csum && (!HasDirTail(block) || StoredDirChecksum(block) != DirBlockChecksum(seed, block)) {
			t.Errorf("%s block %d: wrong directory checksum", file, i)
		}
		for off := 0; off < bs; {
			var d Dirent
			d.Decode(block[off:])
			if d.RecLen < DirentSize(d.NameLen) {
				t.Fatalf("%s block %d offset %d: entry %+v", file, i, off, d)
			}
			if lo, ok := leafHash[uint32(i)]; ok && d.Ino != 0 {
				name := string(block[off+DirentHeader:][:d.NameLen])
				if h, _, _ := DirHash(HashVersion(sb.DefHashVersion), &sb.HashSeed, name); h < lo {
					t.Errorf("%s block %d: %q has hash %#x, leaf starts at %#x", file, i, name, h, lo)
				}
			}
			off += d.RecLen
		}
	}
}

func TestXattrGolden(t *testing.T) {
	path, _ := makeImage(t, "-b", "4096")
	big := strings.Repeat("v", 700)
	tool(t, "debugfs", "-w", "-R", "ea_set /small/content user.small value", path)
	tool(t, "debugfs", "-w", "-R", "ea_set /small/content user.big "+big, path)
	img, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var sb Superblock
	if err := sb.Decode(img[SuperblockOffset:]); err != nil {
		t.Fatal(err)
	}
	stat := tool(t, "debugfs", "-R", "stat /small/content", path)
	ino, _ := strconv.Atoi(regexp.MustCompile(`Inode: (\d+)`).FindStringSubmatch(stat)[1])
	raw := inodeAt(img, &sb, uint32(ino))
	var in Inode
	in.Decode(raw)
	area := raw[GoodOldInodeSize+int(in.ExtraIsize):]
	if le.Uint32(area) != XattrMagic {
		t.Fatalf("no attributes in the inode: % x", area[:8])
	}
	check := func(entries, base []byte, name, value string) {
		t.Helper()
		var e XattrEntry
		e.Decode(entries)
		got := string(entries[XattrEntrySize:][:e.NameLen])
		val := base[e.Offset:][:e.ValueSize]
		if got != name || string(val) != value || e.Index != XattrUser {
			t.Errorf("entry %+v name %q, value %q", e, got, val)
		}
		if h := XattrHash(got, val); e.Hash != 0 && e.Hash != h {
			t.Errorf("hash of %s is %#x, computed %#x", name, e.Hash, h)
		}
	}
	check(area[XattrInodeHeader:], area[XattrInodeHeader:], "small", "value")
	block := img[int(in.FileACL)*4096:][:4096]
	var h XattrHeader
	h.Decode(block)
	if h.Magic != XattrMagic || h.Refcount != 1 || h.Checksum != XattrBlockChecksum(sb.Seed(), in.FileACL, block) {
		t.Errorf("block header %+v, computed checksum %#x", h, XattrBlockChecksum(sb.Seed(), in.FileACL, block))
	}
	check(block[XattrBlockHeader:], block, "big", big)
}
