package fs

import (
	"fmt"
	"strings"
	"testing"

	"pinhole/fs/ext4"
	"pinhole/fs/vfs"
	"pinhole/fs/vfs/vfstest"
)

// fillBlocks leaves k free blocks. That can take several files, whose own trees take blocks.
func fillBlocks(s *vfstest.Session, fs *ext4.FS, k uint64, bs int64) error {
	free := func() uint64 {
		var st vfs.StatFS
		fs.StatFS(&st)
		return st.Bfree
	}
	do := func(line string) error {
		if r := s.Do(line); r != "OK" && !strings.HasPrefix(r, "OK ") {
			return fmt.Errorf("filling the image: %s: %s", line, r)
		}
		return nil
	}
	if err := do("mkdir filler 755"); err != nil {
		return err
	}
	for i := 0; free() > k; i++ {
		if i == 500 {
			return fmt.Errorf("filling the image: %d blocks are free still, want %d", free(), k)
		}
		if err := do(fmt.Sprintf("hold x filler/%d creat|rw 644", i)); err != nil {
			if free() <= k+1 {
				break // the directory would need a block
			}
			return err
		}
		// The halves of what is left, so that what the trees take is found out on the way.
		n := free() - k
		if n > 16 {
			n = n * 7 / 8
		}
		r := s.Do(fmt.Sprintf("fallocate x keep 0 %d", int64(n)*bs))
		if r != "OK" && r != "ENOSPC" {
			return fmt.Errorf("filling the image: %s", r)
		}
		if err := do("drop x"); err != nil {
			return err
		}
		if err := do("sync"); err != nil {
			return err
		}
	}
	return nil
}

// fillInodes leaves k free inodes.
func fillInodes(s *vfstest.Session, fs *ext4.FS, k uint64) error {
	var st vfs.StatFS
	if r := s.Do("mkdir filler 755"); r != "OK" {
		return fmt.Errorf("filling the image: %s", r)
	}
	for i := 0; ; i++ {
		if fs.StatFS(&st); st.Ffree <= k {
			break
		}
		if r := s.Do(fmt.Sprintf("mknod filler/%d fifo 600", i)); r != "OK" {
			return fmt.Errorf("filling the image: %s", r)
		}
	}
	if r := s.Do("sync"); r != "OK" {
		return fmt.Errorf("filling the image: %s", r)
	}
	return nil
}

// emptied takes the filler away, which must always be possible, and then there must be room.
func emptied(s *vfstest.Session, fs *ext4.FS) error {
	for i := range 3000 {
		r := s.Do(fmt.Sprintf("unlink filler/%d", i))
		if r == "ENOENT" {
			break
		}
		if r != "OK" {
			return fmt.Errorf("removing what fills the image: %s", r)
		}
	}
	for _, line := range []string{"rmdir filler", "sync", "write again {@9*30000}", "sync", "unlink again", "sync"} {
		if r := s.Do(line); r != "OK" {
			return fmt.Errorf("with room again: %s: %s", line, r)
		}
	}
	return nil
}

// TestNoRoom does every task with every small number of blocks, and then inodes, that are free.
func TestNoRoom(t *testing.T) {
	eachTask(t, func(t *testing.T, k kind, task task) {
		base := prepared(t, k, task)
		var want []string
		var before, after vfs.StatFS
		note := func(st *vfs.StatFS) func(*vfstest.Session, *ext4.FS) error {
			return func(_ *vfstest.Session, fs *ext4.FS) error { fs.StatFS(st); return nil }
		}
		first := &attempt{t: t, kind: k, task: task, base: base, fault: fault{nth: 1 << 60}, fill: note(&before), empty: note(&after)}
		if err := first.run(&want); err != nil {
			t.Fatalf("with room: %v", err)
		}
		// What the task takes on the way, it may give back.
		blocks := max(int64(before.Bfree)-int64(after.Bfree), 0) + 40
		if task.name == "large" {
			blocks = 1300 * 1024 / k.block
		}
		inodes := max(int64(before.Ffree)-int64(after.Ffree), 0) + 8
		bad := 0
		try := func(what string, n int64, fill func(*vfstest.Session, *ext4.FS) error) {
			if bad >= 5 {
				return
			}
			a := &attempt{t: t, kind: k, task: task, base: base, fault: fault{nth: 1 << 60}, fill: fill, empty: emptied}
			if err := watched(a, &want); err != nil {
				t.Errorf("%d free %s: %v\n%s", n, what, err, strings.Join(a.log, "\n"))
				bad++
			}
		}
		samples := func(n int64, f func(i int64)) {
			step := max(n/int64(amount(16, 150)), 1)
			for i := int64(0); i <= n; i++ {
				if i < 6 || i%step == 0 {
					f(i)
				}
			}
		}
		samples(blocks, func(n int64) {
			try("blocks", n, func(s *vfstest.Session, fs *ext4.FS) error { return fillBlocks(s, fs, uint64(n), k.block) })
		})
		if inodes > 8 || task.name == "names" || task.name == "rename" {
			samples(inodes, func(n int64) {
				try("inodes", n, func(s *vfstest.Session, fs *ext4.FS) error { return fillInodes(s, fs, uint64(n)) })
			})
		}
	})
}
