package ext4

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/vfs"
)

func TestErrSeq(t *testing.T) {
	var q errSeq
	first := q.sample()
	if e := q.check(&first); e != 0 {
		t.Errorf("without an error: %v", e)
	}
	q.set(abi.EIO)
	late := q.sample() // opened after the error, which nobody was told of yet
	if e := q.check(&first); e != abi.EIO {
		t.Errorf("the first to ask: %v", e)
	}
	if e := q.check(&first); e != 0 {
		t.Errorf("asked again: %v", e)
	}
	if e := q.check(&late); e != abi.EIO {
		t.Errorf("who opened before anybody was told: %v", e)
	}
	last := q.sample()
	if e := q.check(&last); e != 0 {
		t.Errorf("who opened afterwards: %v", e)
	}
	q.set(abi.EIO)
	q.set(abi.ENOSPC)
	for i, seen := range []*uint32{&first, &late, &last} {
		if e := q.check(seen); e != abi.ENOSPC {
			t.Errorf("file %d is told %v", i, e)
		}
		if e := q.check(seen); e != 0 {
			t.Errorf("file %d is told again: %v", i, e)
		}
	}
}

// TestLostWrite has the device fail while content is written behind. Each open file learns of it once,
// content that was not written stays, and other files do not suffer.
func TestLostWrite(t *testing.T) {
	img := mkfs(t, "32M", "-b", "4096")
	dev := faultdev.New(img)
	var bad atomic.Int64 // no write here
	bad.Store(-1)
	dev.Fail = func(op faultdev.Op, off int64, n int) error {
		if b := bad.Load(); op == faultdev.Write && b >= off && b < off+int64(n) {
			return faultdev.ErrInjected
		}
		return nil
	}
	fs, err := Mount(faultdev.Mapped{Device: dev}, Options{Log: t.Logf, FlushAfter: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	root := fs.Root()
	var nodes [2]vfs.Node
	var seen [2]uint32
	for i := range nodes {
		nodes[i] = create(t, root, string(rune('a'+i)), abi.S_IFREG|0o644)
		nodes[i].Write(0, 20000, &pattern{salt: byte(i)})
		if e := nodes[i].Sync(false); e != 0 {
			t.Fatal(e)
		}
		seen[i] = nodes[i].(vfs.ErrorSampler).SampleError()
	}
	home := int64(nodes[0].(*inode).runs.list[0].start()) << fs.bsLog
	bad.Store(home)
	want := bytes.Repeat([]byte("new"), 1000)
	for _, n := range nodes {
		n.Write(0, len(want), &byteSource{p: want})
	}
	other := nodes[0].(vfs.ErrorSampler).SampleError()
	told := func(s *uint32) abi.Errno {
		for range 1000 {
			if e := nodes[0].(vfs.ErrorSampler).CheckError(s); e != 0 {
				return e
			}
			time.Sleep(time.Millisecond)
		}
		return 0
	}
	if e := told(&seen[0]); e != abi.EIO {
		t.Errorf("the first open file is told %v", e)
	}
	if e := told(&other); e != abi.EIO {
		t.Errorf("the second open file is told %v", e)
	}
	if e := nodes[1].Sync(false); e != 0 {
		t.Errorf("the other file: %v", e)
	}
	if e := nodes[1].(vfs.ErrorSampler).CheckError(&seen[1]); e != 0 {
		t.Errorf("the other file is told %v", e)
	}
	bad.Store(-1)
	if e := nodes[0].Sync(false); e != 0 {
		t.Errorf("with a good device: %v", e)
	}
	if got := dev.Content()[home : home+int64(len(want))]; !bytes.Equal(got, want) {
		t.Error("content was given up")
	}
	for _, n := range nodes {
		n.Unref()
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
}

// TestDeviceFull has the medium below fill up while content is written behind, and get room again.
func TestDeviceFull(t *testing.T) {
	dev := faultdev.New(mkfs(t, "32M", "-b", "1024"))
	var full atomic.Bool
	dev.Fail = func(op faultdev.Op, off int64, n int) error {
		if full.Load() && op == faultdev.Write {
			return blockdev.ErrNoSpace
		}
		return nil
	}
	fs, err := Mount(faultdev.Mapped{Device: dev}, Options{Log: t.Logf, FlushAfter: time.Millisecond, CommitEvery: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	root := fs.Root()
	full.Store(true)
	n := create(t, root, "file", abi.S_IFREG|0o644)
	n.Write(0, 300000, &pattern{})
	if e := n.Sync(false); e != abi.ENOSPC {
		t.Errorf("sync: %v", e)
	}
	var a vfs.Attr
	n.Attr(&a)
	if a.Blocks != 293*2 {
		t.Errorf("%d sectors", a.Blocks)
	}
	full.Store(false)
	if e := n.Sync(false); e != 0 {
		t.Errorf("sync with room: %v", e)
	}
	checkPattern(t, n, 300000, 0, false)
	n.Unref()
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	checkNothingLeft(t, fs)
	fsck(t, dev.Content())
}
