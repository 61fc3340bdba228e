package image

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"pinhole/blockdev/filedev"
	"pinhole/fs/ext4/mkfs"
)

// ThrowawayRoom is how much can be written to a throw-away image by default, in bytes.
const ThrowawayRoom = 256 << 20

// beforeCopy is for a test to change the program meanwhile.
var beforeCopy = func() {}

// throwawayFiles are what programs expect of any system.
var throwawayFiles = []mkfs.File{
	{Path: "/tmp", Mode: unix.S_IFDIR | 0o1777},
	{Path: "/root", Mode: unix.S_IFDIR | 0o700},
	{Path: "/etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")},
	{Path: "/etc/group", Mode: 0o644, Content: []byte("root:x:0:\nnogroup:x:65534:\n")},
}

// Throwaway makes an image in memory that holds the program, executable, at path, and little else;
// about room more bytes can be written to it. It is a memfd that is sealed against resizing, and
// has no journal, since nothing of it outlives a crash.
func Throwaway(program *os.File, path string, room int64) (_ *os.File, err error) {
	st, err := program.Stat()
	if err != nil {
		return nil, err
	}
	content, err := mapFile(program, st.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program.Name(), err)
	}
	if content != nil {
		defer unix.Munmap(content)
	}
	// What the program is, it may stop being while it is copied.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(interface{ Addr() uintptr }); !ok {
				panic(p)
			}
			err = fmt.Errorf("%s: changed, or cannot be read, while it was copied", program.Name())
		}
	}()
	beforeCopy()
	files := append(throwawayFiles[:len(throwawayFiles):len(throwawayFiles)],
		mkfs.File{Path: path, Mode: 0o755, Content: content, Time: st.ModTime()})
	return memory(st.Size()+room, mkfs.Options{Label: "throw-away", NoJournal: true, NoResize: true, Files: files})
}

func mapFile(f *os.File, size int64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	if size > 1<<40 {
		return nil, errors.New("is too large")
	}
	return unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_POPULATE)
}

// memory makes a file system in a memfd with room for size bytes of content.
func memory(size int64, o mkfs.Options) (*os.File, error) {
	// Metadata takes some: inode tables, 1/64 of it; bitmaps, descriptors, directories.
	size = (size + size/32 + 1<<20) &^ 4095
	fd, err := unix.MemfdCreate("pinhole-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("throw-away image: %w", err)
	}
	f := os.NewFile(uintptr(fd), "throw-away image")
	if err := format(f, size, o); err != nil {
		f.Close()
		return nil, fmt.Errorf("throw-away image: %w", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, fmt.Errorf("throw-away image: %w", err)
	}
	return f, nil
}

// format makes a file system on an empty file of the host.
func format(f *os.File, size int64, o mkfs.Options) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	dev, err := filedev.New(f)
	if err != nil {
		return err
	}
	o.Fresh = true
	return mkfs.Format(dev, o)
}
