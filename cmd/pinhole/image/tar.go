package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pinhole/fs/vfs"
)

// unpack returns a reader of the tar archive in r, which may be compressed with gzip or bzip2.
func unpack(r io.Reader) (*tar.Reader, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	head, err := b.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for magic, unpacker := range map[string]string{"\x28\xb5\x2f\xfd": "zstd", "\xfd7zXZ\x00": "xz", "\x04\x22\x4d\x18": "lz4"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return nil, fmt.Errorf("is compressed with %s; unpack it on the way: %s -dc FILE | pinhole image create --from - IMAGE", unpacker, unpacker)
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		return tar.NewReader(z), nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return tar.NewReader(bzip2.NewReader(b)), nil
	}
	return tar.NewReader(b), nil
}

// xattrRecord is the prefix of PAX records that are extended attributes.
const xattrRecord = "SCHILY.xattr."

func tarMeta(h *tar.Header) (meta, error) {
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > 1<<32-2 || int64(h.Gid) > 1<<32-2 {
		return meta{}, fmt.Errorf("owner %d:%d cannot be", h.Uid, h.Gid)
	}
	m := meta{mode: uint32(h.Mode) & 0o7777, uid: uint32(h.Uid), gid: uint32(h.Gid), mtime: timespec(h.ModTime)}
	for record, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(record, xattrRecord); ok && keepXattr(name) {
			if m.xattrs == nil {
				m.xattrs = make(map[string]string)
			}
			m.xattrs[name] = value
		}
	}
	return m, nil
}

func timespec(t time.Time) vfs.Timespec {
	return vfs.Timespec{Sec: t.Unix(), Nsec: int32(t.Nanosecond())}
}

// copyTar puts everything in the archive into the image.
func (w *writer) copyTar(r *tar.Reader) error {
	for n := 0; ; n++ {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if n == 0 {
				return fmt.Errorf("is not a tar archive: %w", err)
			}
			return fmt.Errorf("the archive is damaged behind %d entries: %w", n, err)
		}
		if err := at(h.Name, w.tarEntry(h, r)); err != nil {
			return err
		}
	}
}

func (w *writer) tarEntry(h *tar.Header, r io.Reader) error {
	p := cleanPath(h.Name)
	m, err := tarMeta(h)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeGNUSparse:
		return w.file(p, m, content{size: h.Size, r: r, zeros: sparseInTar(h)})
	case tar.TypeDir:
		return w.dir(p, m)
	case tar.TypeSymlink:
		return w.symlink(p, h.Linkname, m)
	case tar.TypeLink:
		return w.link(p, cleanPath(h.Linkname))
	case tar.TypeChar:
		return w.node(p, unix.S_IFCHR, tarDev(h), m)
	case tar.TypeBlock:
		return w.node(p, unix.S_IFBLK, tarDev(h), m)
	case tar.TypeFifo:
		return w.node(p, unix.S_IFIFO, 0, m)
	case tar.TypeXGlobalHeader:
		return nil
	}
	return fmt.Errorf("has type %q, which is not known", h.Typeflag)
}

// sparseInTar tells whether a file was stored without its holes. The reader gives zeros for them,
// and does not say where they are.
func sparseInTar(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for record := range h.PAXRecords {
		if strings.HasPrefix(record, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func tarDev(h *tar.Header) uint64 { return unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)) }

// sizeOfTar adds up what the files of an archive will take in an image, and counts them.
func sizeOfTar(r *tar.Reader) (bytes, files int64, err error) {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return bytes, files, nil
		}
		if err != nil {
			return 0, 0, fmt.Errorf("is not a tar archive, or damaged: %w", err)
		}
		files++
		bytes += (h.Size + 4095) &^ 4095
		if h.Typeflag == tar.TypeDir {
			bytes += 4096
		}
	}
}
