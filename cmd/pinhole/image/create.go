package image

import (
	"encoding/hex"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"pinhole/cmd/pinhole/units"
	"pinhole/fs/ext4/mkfs"
)

type createCmd struct {
	Size  units.Size `short:"s" placeholder:"SIZE" help:"Size of the disk: 64M, 2G. What is not used takes no room on the host. (1G, or what --from needs and as much again)"`
	From  string     `short:"f" placeholder:"SOURCE" help:"Directory, tar archive or container image whose files go into the image; more about it, and more ways, has \"pinhole image import --help\"."`
	Force bool       `help:"Replace an existing file."`

	Label         string     `short:"L" placeholder:"NAME" help:"Name of the file system, at most 16 bytes."`
	BlockSize     int        `short:"b" enum:"1024,2048,4096" default:"4096" placeholder:"BYTES" help:"Bytes of a block: ${enum}. Small ones waste less on small files, and are slower. (${default})"`
	Inodes        uint64     `short:"N" placeholder:"N" help:"How many files there can be, at least. (what --from needs, or as --bytes-per-inode says)"`
	BytesPerInode units.Size `short:"i" placeholder:"SIZE" help:"Room for one more file for each so many bytes of the disk. (16K; 4K below 512M, 32K from 4T on)"`
	Reserved      float64    `short:"m" placeholder:"PERCENT" help:"How much of the disk only root can use. (0)"`
	JournalSize   units.Size `short:"J" placeholder:"SIZE" help:"Size of the journal, at least 1024 blocks. (4M to 1G, by the size of the disk)"`
	NoJournal     bool       `help:"Make a file system without a journal: a crash may damage it."`
	SparseJournal bool       `help:"Do not write zeros to the first 64M of the journal: the image is made sooner and smaller, and what the host makes of it is slower to write to at first."`
	UUID          fsUUID     `short:"U" placeholder:"UUID" help:"Identity of the file system. (random)"`
	HashSeed      fsUUID     `placeholder:"UUID" help:"Seed of the hashes of names in directories. (made from the UUID)"`
	RootOwner     rootOwner  `placeholder:"UID[:GID]" help:"Who owns the root directory. (0:0, or as in --from)"`
	Features      features   `short:"O" placeholder:"^NAME,..." help:"Leave out features, as mke2fs does: ^has_journal, ^resize_inode, ^orphan_file, ^metadata_csum_seed. Linux before 5.15 and e2fsprogs before 1.47 do not know orphan_file."`

	Image string `arg:"" help:"Image file to make."`
}

// Help implements kong.HelpProvider.
func (c *createCmd) Help() string {
	return `The image is an ordinary ext4 file system with all that mkfs.ext4 makes by default: mount -o loop, e2fsck and resize2fs understand it.

Examples:
  pinhole image create disk.img                       1G, empty
  pinhole image create -s 20G -f rootfs.tar disk.img  20G, with the files of an archive
  pinhole image create -s 8G -N 4000000 disk.img      for four million small files
  pinhole image create -O ^orphan_file disk.img       for a host with an old Linux`
}

const (
	defaultSize = 1 << 30
	leastSize   = 1 << 20
	// zeroedJournal is how much of the journal of an image that is meant to last is written, in
	// bytes: a commit to blocks that the host has yet to find takes it half as long again.
	zeroedJournal = 64 << 20
)

// fsUUID is a UUID on the command line.
type fsUUID [16]byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *fsUUID) UnmarshalText(text []byte) error {
	p, err := hex.DecodeString(strings.ReplaceAll(string(text), "-", ""))
	if err != nil || len(p) != len(u) {
		return fmt.Errorf("%q is not a UUID; write 32 hexadecimal digits, as in 01234567-89ab-cdef-0123-456789abcdef", text)
	}
	copy(u[:], p)
	return nil
}

// rootOwner is a user and group on the command line.
type rootOwner struct{ uid, gid uint32 }

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *rootOwner) UnmarshalText(text []byte) error {
	user, group, both := strings.Cut(string(text), ":")
	if !both {
		group = user
	}
	uid, err := strconv.ParseUint(user, 10, 32)
	gid, err2 := strconv.ParseUint(group, 10, 32)
	if err != nil || err2 != nil {
		return fmt.Errorf("%q is not an owner; write numbers, as in 1000 or 1000:1000", text)
	}
	*o = rootOwner{uint32(uid), uint32(gid)}
	return nil
}

// features are what is left out of a file system.
type features struct {
	noJournal, noResize, noOrphanFile, noChecksumSeed bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *features) UnmarshalText(text []byte) error {
	off := map[string]*bool{
		"has_journal": &f.noJournal, "resize_inode": &f.noResize, "orphan_file": &f.noOrphanFile, "metadata_csum_seed": &f.noChecksumSeed,
	}
	for name := range strings.SplitSeq(string(text), ",") {
		bare := strings.TrimPrefix(strings.TrimSpace(name), "^")
		which := off[bare]
		if which == nil {
			return fmt.Errorf("%q is not a feature that can be left out; those are ^has_journal, ^resize_inode, ^orphan_file and ^metadata_csum_seed", name)
		}
		*which = bare != name
	}
	return nil
}

// Run implements the command.
func (c *createCmd) Run() error {
	if c.Size != 0 && c.Size < leastSize {
		return fmt.Errorf("--size %d is too small for an image; it takes at least 1M", int64(c.Size))
	}
	src, err := openSource(c.From)
	if err != nil {
		return err
	}
	defer src.close()
	size := int64(c.Size)
	if size == 0 {
		size = max(src.needs(), defaultSize)
	}
	target, err := newTarget(c.Image, c.Force)
	if err != nil {
		return err
	}
	defer target.abandon()
	if err := format(target.f, size, c.options(src)); err != nil {
		return fmt.Errorf("image %s: %w", c.Image, err)
	}
	if src.kind != sourceNone {
		if err := src.fill(c.Image, target.f); err != nil {
			return err
		}
	}
	return target.commit()
}

// options are what the file system is to be like.
func (c *createCmd) options(src *source) mkfs.Options {
	o := mkfs.Options{
		BlockSize:      c.BlockSize,
		Label:          c.Label,
		UUID:           c.UUID,
		HashSeed:       c.HashSeed,
		Inodes:         max(c.Inodes, uint64(src.files+src.files/4)),
		BytesPerInode:  int64(c.BytesPerInode),
		Reserved:       c.Reserved,
		JournalSize:    int64(c.JournalSize),
		NoJournal:      c.NoJournal || c.Features.noJournal,
		NoResize:       c.Features.noResize,
		NoOrphanFile:   c.Features.noOrphanFile,
		NoChecksumSeed: c.Features.noChecksumSeed,
		RootUID:        c.RootOwner.uid,
		RootGID:        c.RootOwner.gid,
	}
	if !c.SparseJournal {
		o.ZeroJournal = zeroedJournal
	}
	return o
}

// findTool finds a program of e2fsprogs, which users do not always have in their PATH.
func findTool(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/sbin", "/usr/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("the host has no %s; install its package e2fsprogs", name)
}
