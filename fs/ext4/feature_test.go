package ext4

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// What becomes of an image with some feature.
const (
	written = iota
	readOnly
	refused
)

// featureSets are options of mke2fs beside its defaults, what a mount makes of the image, and what it
// says.
var featureSets = []struct {
	name   string
	opts   []string
	want   int
	says   string
	change func(sb *disk.Superblock) // what mke2fs has no option for
}{
	{name: "default"},
	{name: "uninit_bg", opts: []string{"-O", "^metadata_csum,uninit_bg"}},
	{name: "no checksums", opts: []string{"-O", "^metadata_csum"}},
	{name: "metadata_csum_seed", opts: []string{"-O", "metadata_csum_seed", "-U", "00112233-4455-6677-8899-aabbccddeeff"}},
	{name: "32bit", opts: []string{"-O", "^64bit"}},
	{name: "32bit without checksums", opts: []string{"-O", "^64bit,^metadata_csum"}},
	{name: "no flex_bg", opts: []string{"-O", "^flex_bg"}},
	{name: "small flex groups", opts: []string{"-G", "2", "-g", "2048"}},
	{name: "large flex groups", opts: []string{"-G", "64", "-g", "1024"}},
	{name: "packed_meta_blocks", opts: []string{"-E", "packed_meta_blocks=1"}},
	{name: "meta_bg", opts: []string{"-O", "meta_bg,^resize_inode"}},
	{name: "meta_bg with small groups", opts: []string{"-O", "meta_bg,^resize_inode", "-g", "256", "-N", "8192"}},
	{name: "small groups", opts: []string{"-g", "512"}},
	{name: "no resize_inode", opts: []string{"-O", "^resize_inode"}},
	{name: "no sparse_super", opts: []string{"-O", "^sparse_super,^resize_inode"}},
	{name: "sparse_super2", opts: []string{"-O", "sparse_super2"}},
	{name: "sparse_super2 with one backup", opts: []string{"-O", "sparse_super2", "-E", "num_backup_sb=1"}},
	{name: "inodes of 128 bytes", opts: []string{"-I", "128"}},
	{name: "inodes of 512 bytes", opts: []string{"-I", "512"}},
	{name: "inodes of 1024 bytes", opts: []string{"-I", "1024"}},
	{name: "no huge_file", opts: []string{"-O", "^huge_file"}},
	{name: "no large_file", opts: []string{"-O", "^large_file"}},
	{name: "no dir_nlink", opts: []string{"-O", "^dir_nlink"}},
	{name: "no extra_isize", opts: []string{"-O", "^extra_isize"}},
	{name: "no ext_attr", opts: []string{"-O", "^ext_attr"}},
	{name: "no filetype", opts: []string{"-O", "^filetype"}},
	{name: "no dir_index", opts: []string{"-O", "^dir_index"}},
	{name: "large_dir", opts: []string{"-O", "large_dir"}},
	{name: "stable_inodes", opts: []string{"-O", "stable_inodes"}},
	{name: "no journal", opts: []string{"-O", "^has_journal"}},
	{name: "small journal", opts: []string{"-J", "size=4"}},
	{name: "fast_commit", opts: []string{"-O", "fast_commit"}},
	{name: "orphan_file", opts: []string{"-O", "orphan_file"}},
	{name: "legacy hash", change: func(sb *disk.Superblock) { sb.DefHashVersion = uint8(disk.HashLegacy) }},
	{name: "TEA hash", change: func(sb *disk.Superblock) { sb.DefHashVersion = uint8(disk.HashTEA) }},
	{name: "unsigned hash", change: func(sb *disk.Superblock) { sb.Flags = sb.Flags&^disk.FlagSignedHash | disk.FlagUnsignedHash }},

	{name: "quota", opts: []string{"-O", "quota"}, want: readOnly, says: "quota"},
	{name: "project", opts: []string{"-O", "project,quota"}, want: readOnly, says: "quota,project"},
	{name: "verity", opts: []string{"-O", "verity"}, want: readOnly, says: "verity"},
	{name: "ext3", opts: []string{"-t", "ext3"}, want: readOnly, says: "^extent"},
	{name: "ext2", opts: []string{"-t", "ext2"}, want: readOnly, says: "^extent"},
	{name: "revision 0", opts: []string{"-t", "ext2", "-r", "0", "-O", "none"}, want: readOnly, says: "revision 0"},

	{name: "bigalloc", opts: []string{"-O", "bigalloc"}, want: refused, says: "bigalloc"},
	{name: "inline_data", opts: []string{"-O", "inline_data"}, want: refused, says: "inline_data"},
	{name: "encrypt", opts: []string{"-O", "encrypt"}, want: refused, says: "encrypt"},
	{name: "casefold", opts: []string{"-O", "casefold"}, want: refused, says: "casefold"},
	{name: "ea_inode", opts: []string{"-O", "ea_inode"}, want: refused, says: "ea_inode"},
	{name: "mmp", opts: []string{"-O", "mmp"}, want: refused, says: "mmp"},
	{name: "several", opts: []string{"-O", "inline_data,ea_inode"}, want: refused, says: "ea_inode,inline_data"},
	{name: "journal_dev", opts: []string{"-O", "journal_dev"}, want: refused, says: "journal_dev"},
}

// TestFeatureSets makes images with mkfs.ext4 for each feature and each block size (the short form: for
// one of them). What can be written is written at random, and read again; the long form runs the
// conformance suite on it, too.
func TestFeatureSets(t *testing.T) {
	src, want := sourceTree(t)
	long := os.Getenv("PINHOLE_LONG") != ""
	for i, set := range featureSets {
		for j, bs := range []string{"1024", "2048", "4096"} {
			if !long && i%3 != j {
				continue
			}
			t.Run(set.name+"/"+bs, func(t *testing.T) {
				opts := append([]string{"-b", bs}, set.opts...)
				if set.want == readOnly {
					opts = append(opts, "-d", src)
				}
				img := mkfs(t, "48M", opts...)
				if set.change != nil {
					changeSuper(img, set.change)
				}
				var said strings.Builder
				fs, err := Mount(faultdev.Mapped{Device: faultdev.New(img)}, Options{Log: func(format string, args ...any) {
					fmt.Fprintf(&said, format+"\n", args...)
				}})
				if set.want == refused {
					var f *FeatureError
					if !errors.As(err, &f) || f.Names != set.says {
						t.Errorf("mount: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if fs.ReadOnly() != (set.want == readOnly) || !strings.Contains(said.String(), set.says) {
					t.Errorf("read-only is %v, log: %s", fs.ReadOnly(), said.String())
				}
				root := fs.Root()
				if set.want == readOnly {
					got := tree(t, root)
					delete(got, "/lost+found")
					if d := cmp.Diff(want, got); d != "" {
						t.Errorf("tree (-want +got):\n%s", d)
					}
					if _, e := root.Create("x", &vfs.NewNode{Mode: abi.S_IFREG}); e != abi.EROFS {
						t.Errorf("create: %v", e)
					}
					root.Unref()
					fs.Unmount()
					return
				}
				got := writeTree(t, root, uint64(i))
				root.Unref()
				checkSpace(t, fs)
				if e := fs.Unmount(); e != 0 {
					t.Fatalf("unmount: %v", e)
				}
				path := fsck(t, img)
				fs, _ = mount(t, img, true, Options{})
				root = fs.Root()
				if d := cmp.Diff(got, tree(t, root)); d != "" {
					t.Errorf("mounted again (-before +after):\n%s", d)
				}
				root.Unref()
				if e := fs.Unmount(); e != 0 {
					t.Fatalf("unmount: %v", e)
				}
				if os.Geteuid() == 0 {
					t.Run("host", func(t *testing.T) {
						if d := cmp.Diff(got, hostTree(t, loopMount(t, path, "ro"))); d != "" {
							t.Errorf("what the host reads (-ours +host):\n%s", d)
						}
					})
				}
				if long {
					empty := mkfs(t, "96M", opts...)
					if set.change != nil {
						changeSuper(empty, set.change)
					}
					runSuite(t, empty, true)
				}
			})
		}
	}
}

// writeTree fills a file system with files of all kinds, in directories with and without a hash tree, and
// returns the description of it.
func writeTree(t *testing.T, root vfs.Node, seed uint64) map[string]string {
	t.Helper()
	g := newGenerator(root, seed)
	for range 600 {
		g.step(t)
	}
	many := create(t, root, "many", abi.S_IFDIR|0o755)
	for i := range 700 {
		n := create(t, many, fmt.Sprintf("%d-%s", i, strings.Repeat("name", i%50)), abi.S_IFREG|0o644)
		if i%7 == 0 {
			if e := n.(vfs.XattrNode).Setxattr("user.attribute", []byte(strings.Repeat("v", i%200)), 0); e != 0 {
				t.Fatal(e)
			}
		}
		n.Unref()
		if i%3 == 0 {
			if e := many.Unlink(fmt.Sprintf("%d-%s", i/2, strings.Repeat("name", i/2%50))); e != 0 && e != abi.ENOENT {
				t.Fatal(e)
			}
		}
		if i%50 == 0 {
			create(t, many, fmt.Sprint("dir", i), abi.S_IFDIR|0o755).Unref()
		}
	}
	many.Unref()
	old := create(t, root, "old", abi.S_IFREG|0o644)
	if e := old.SetAttr(&vfs.SetAttr{Mask: vfs.SetMtime, Mtime: vfs.Timespec{Sec: 5_000_000_000, Nsec: 123456789}}); e != 0 {
		t.Fatal(e)
	}
	old.Unref()
	g.close()
	return tree(t, root)
}

// TestImageWithFeatureOfTheFuture: a feature without a name is told by its number.
func TestImageWithFeatureOfTheFuture(t *testing.T) {
	img := mkfs(t, "8M", "-b", "1024")
	changeSuper(img, func(sb *disk.Superblock) { sb.FeatureIncompat |= 1 << 30 })
	if _, err := Mount(faultdev.New(img), Options{}); err == nil || !strings.Contains(err.Error(), "FEATURE_I30") {
		t.Error(err)
	}
}
