package ext4

import (
	"bytes"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/vfs"
)

// TestMeanwhile asks for what needs a file's content on the device while that is being written: no page is
// dirty then, but nothing is in its place yet either.
func TestMeanwhile(t *testing.T) {
	const size = 5 * pageSize
	for _, c := range []struct {
		name string
		ask  func(t *testing.T, n *inode, root vfs.Node)
	}{
		{"map", func(t *testing.T, n *inode, _ vfs.Node) {
			list, e := n.MapExtents(0, size)
			if e != 0 || len(list) == 0 {
				t.Errorf("MapExtents: %v, %v", list, e)
			}
			for _, x := range list {
				if x.Home < 0 {
					t.Errorf("%d bytes at %d are a hole", x.Len, x.Off)
					continue
				}
				for i, b := range n.fs.mapped.Bytes(x.Home, int(x.Len)) {
					if want := patternAt(x.Off+int64(i), 0); b != want {
						t.Errorf("byte %d is %#x, want %#x", x.Off+int64(i), b, want)
						break
					}
				}
			}
		}},
		{"sync", func(t *testing.T, n *inode, _ vfs.Node) {
			if e := n.fs.Sync(); e != 0 {
				t.Errorf("sync: %v", e)
			}
			n.mu.RLock()
			defer n.mu.RUnlock()
			if n.d.Size != size {
				t.Errorf("a file that was synced has %d bytes on the device", n.d.Size)
			}
		}},
		{"rename", func(t *testing.T, n *inode, root vfs.Node) {
			if e := root.Rename("new", root, "old", 0); e != 0 {
				t.Errorf("rename: %v", e)
			}
			n.mu.RLock()
			defer n.mu.RUnlock()
			if n.d.Size != size {
				t.Errorf("the file that took another one's name has %d bytes on the device", n.d.Size)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := faultdev.New(mkfs(t, "32M", "-b", "4096"))
			begun, goOn := make(chan bool, 1), make(chan bool)
			hold := false
			dev.Fail = func(op faultdev.Op, _ int64, _ int) error {
				if hold && op == faultdev.Write {
					select {
					case begun <- true:
					default:
					}
					<-goOn
				}
				return nil
			}
			fs, err := Mount(faultdev.Mapped{Device: dev}, Options{Log: t.Logf, FlushAfter: time.Hour, CommitEvery: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			root := fs.Root()
			create(t, root, "old", abi.S_IFREG|0o600).Unref()
			n := create(t, root, "new", abi.S_IFREG|0o600).(*inode)
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			n.Write(0, size, &pattern{})
			hold = true
			written := make(chan error, 1)
			go func() { written <- fs.writeContent(pressed) }()
			<-begun
			if n.pages.dirty() {
				t.Error("pages are dirty that are being written")
			}
			answered := make(chan bool)
			go func() {
				defer close(answered)
				c.ask(t, n, root)
			}()
			select {
			case <-answered: // and has said what is wrong
			case <-time.After(50 * time.Millisecond):
			}
			close(goOn)
			<-answered
			if err := <-written; err != nil {
				t.Error(err)
			}
			if got := readAll(t, n); len(got) != size || !bytes.Equal(got[:20], dev.Content()[n.runs.list[0].home<<fs.bsLog:][:20]) {
				t.Errorf("%d bytes are read, or others than the device has", len(got))
			}
			n.Unref()
			root.Unref()
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Content())
		})
	}
}
