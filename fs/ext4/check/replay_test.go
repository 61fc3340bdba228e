package check

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pinhole/fs/ext4/disk"
	"pinhole/tests/harness"
)

// mount mounts an image file with the host's kernel, or skips the test, and returns the directory and what
// unmounts it.
func mount(t *testing.T, path string) (dir string, umount func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", path, dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount here: %v: %s", err, out)
	}
	mounted := true
	umount = func() {
		if !mounted {
			return
		}
		mounted = false
		if err := harness.Unmount(dir); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(umount)
	return dir, umount
}

// expectClean is a check that must find nothing, and no note but of the kinds that are named.
func expectClean(t *testing.T, path string, o Options, notes ...Code) *Report {
	t.Helper()
	r := checkFile(t, path, o)
	for _, p := range r.Problems {
		known := false
		for _, n := range notes {
			known = known || p.Code == n && p.Severity == Note
		}
		if !known {
			t.Errorf("%s: %s", p.Code, p)
		}
	}
	return r
}

// TestKernel: nothing is said of what the host's kernel writes; as it is while mounted, a copy needs its
// journal, and shows files that are open without a name.
func TestKernel(t *testing.T) {
	for _, opts := range [][]string{{"-b", "1024", "-O", "orphan_file", "-I", "256"}, {"-O", "metadata_csum_seed"}, {"-b", "2048", "-O", "^metadata_csum,^64bit"}, {"-t", "ext3"}} {
		t.Run(strings.Join(opts, " "), func(t *testing.T) {
			path := newImage(t, "96M", opts...)
			dir, umount := mount(t, path)
			fillMounted(t, dir)
			open, err := os.Create(filepath.Join(dir, "open"))
			if err != nil {
				t.Fatal(err)
			}
			defer open.Close()
			if _, err := open.Write(bytes.Repeat([]byte("orphan"), 10000)); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(open.Name()); err != nil {
				t.Fatal(err)
			}
			syscall.Sync()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			copied := filepath.Join(t.TempDir(), "copy")
			if err := os.WriteFile(copied, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			open.Close()
			umount()
			expectClean(t, path, Options{})
			if f := runE2fsck(t, path, "-fn"); f.bad {
				t.Errorf("e2fsck: %s", f.text)
			}
			r := expectClean(t, copied, Options{Replay: true}, JournalPending, OrphanPending, SuperState)
			if !r.NeedsRecovery || !r.Replayed || r.Orphans != 1 {
				t.Errorf("recovery %v, replayed %v, %d orphans", r.NeedsRecovery, r.Replayed, r.Orphans)
			}
		})
	}
}

// fillMounted puts some of everything into a mounted file system.
func fillMounted(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(dir, "big"), 0o755))
	for i := range 3000 {
		must(os.WriteFile(filepath.Join(dir, "big", fmt.Sprintf("%d-%s", i, strings.Repeat("name", 20))), []byte("x")[:i%2], 0o644))
	}
	for i := range 1000 {
		must(os.Remove(filepath.Join(dir, "big", fmt.Sprintf("%d-%s", i*2, strings.Repeat("name", 20)))))
	}
	must(os.MkdirAll(filepath.Join(dir, "d/e/f"), 0o700))
	must(os.Symlink("d", filepath.Join(dir, "s")))
	must(os.Symlink(strings.Repeat("long/", 30), filepath.Join(dir, "l")))
	must(syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	must(syscall.Mknod(filepath.Join(dir, "dev"), syscall.S_IFCHR|0o600, 0x103))
	sock, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.Bind(sock, &syscall.SockaddrUnix{Name: filepath.Join(dir, "sock")}))
	syscall.Close(sock)
	for i := range 3 {
		p := filepath.Join(dir, fmt.Sprintf("attr-%d", i))
		must(os.WriteFile(p, nil, 0o644))
		must(syscall.Setxattr(p, "user.small", []byte("value"), 0))
		must(syscall.Setxattr(p, "user.\xc3\xa4\xff", []byte("name beyond ASCII"), 0))
		must(syscall.Setxattr(p, "trusted.large", bytes.Repeat([]byte("v"), 600), 0)) // shared by all three
	}
	f, err := os.Create(filepath.Join(dir, "sparse"))
	must(err)
	for i := range int64(3000) {
		_, err := f.WriteAt([]byte("data"), i*8192)
		must(err)
	}
	must(f.Sync())
	// Unwritten blocks, beyond the end, too; an old kernel's ext3 has none.
	if err := syscall.Fallocate(int(f.Fd()), 1, 30<<20, 1<<20); err != nil && err != syscall.EOPNOTSUPP {
		t.Fatal(err)
	}
	must(f.Close())
}

// TestReplay: of journals that are damaged, what e2fsck finds after its replay is found after this one.
func TestReplay(t *testing.T) {
	cases := 60
	if os.Getenv("PINHOLE_LONG") != "" {
		cases = 1000
	}
	path := corpusImage(t, "", "32M", []string{"-b", "1024", "-J", "size=1"}, true)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := openMap(t, path)
	log, _ := m.blocks(disk.JournalInode)
	r := rand.New(rand.NewPCG(7, 8))
	work := filepath.Join(t.TempDir(), "work")
	both, none := 0, 0
	for i := range cases {
		p := bytes.Clone(raw)
		what := "nothing"
		if i > 0 {
			// The transactions are in the first blocks of the log.
			b := log[1+r.IntN(12)]
			at := int(b)*m.bs + r.IntN(64)
			if r.IntN(3) == 0 {
				at = int(b)*m.bs + r.IntN(m.bs)
			}
			old := p[at]
			p[at] ^= 1 << r.IntN(8)
			what = fmt.Sprintf("block %d, byte %d: %#x -> %#x", b, at%m.bs, old, p[at])
		}
		if err := os.WriteFile(work, p, 0o600); err != nil {
			t.Fatal(err)
		}
		ours := runOurs(t, work, Options{Replay: true})
		var theirs finding
		if out, err := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-y", "-E", "journal_only", work).CombinedOutput(); err != nil && bytes.Contains(out, []byte("corrupt")) {
			theirs = finding{true, string(out)}
		}
		after := runE2fsck(t, work, "-fn")
		theirs.bad = theirs.bad || after.bad
		theirs.text += after.text
		switch {
		case ours.bad && theirs.bad:
			both++
		case !ours.bad && !theirs.bad:
			none++
		case ours.bad && strings.Contains(ours.text, string(JournalLog)):
			// Linux does not mount it either; e2fsck goes on with what it has.
			both++
		case ours.bad && strings.Count(ours.text, "error") == 1 && strings.Contains(ours.text, "error inode-checksum: inode 8:"):
			// The copy of its block damages the journal's own inode, which e2fsck writes as it was.
			both++
		default:
			t.Errorf("%s: the check %v, e2fsck %v:\n%s---\n%s", what, ours.bad, theirs.bad, ours.text, theirs.text)
		}
	}
	t.Logf("%d found by both, %d by none", both, none)
}

// TestDuplicate: a name that is in two blocks of a directory, which e2fsck does not see; and where in the
// tree that is.
func TestDuplicate(t *testing.T) {
	d := ownImage(t, 4<<20, 1024)
	p := d.p
	// In /many, the names of a later block become the first of an earlier one.
	m := &imageMap{raw: p}
	if err := m.sb.Decode(p[disk.SuperblockOffset:]); err != nil {
		t.Fatal(err)
	}
	m.bs, m.seed = m.sb.BlockSize(), m.sb.Seed()
	var g disk.Group
	g.Decode(p[(int(m.sb.FirstDataBlock)+1)*m.bs:][:64])
	m.groups = []disk.Group{g}
	ino := m.lookup("many")
	data, _ := m.blocks(ino)
	var from, to disk.Dirent
	src := m.block(data[1])
	from.Decode(src)
	name := string(src[8:][:from.NameLen])
	dst := m.block(data[3])
	at := 0
	for to.Decode(dst); to.RecLen < disk.DirentSize(from.NameLen); to.Decode(dst[at:]) {
		at += to.RecLen
	}
	disk.PutDirent(dst[at:], to.Ino, to.RecLen, to.Type, name)
	n := m.inode(ino)
	disk.SetDirChecksum(disk.InodeSeed(m.seed, ino, n.Generation), dst)
	r, err := Run(d, Options{Paths: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Problems) != 1 || r.Problems[0].Code != DirDuplicate || r.Problems[0].Name != name || r.Problems[0].Path != "/many" {
		t.Errorf("%+v", r.Problems)
	}
}

// BenchmarkCheck is of a file system of 100,000 files, beside e2fsck.
func BenchmarkCheck(b *testing.B) {
	dir := b.TempDir()
	for i := range 200 {
		sub := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for k := range 500 {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file-%d", k)), bytes.Repeat([]byte("x"), (i*500+k)%9000), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	path := newImage(b, "1G", "-N", "150000", "-d", dir)
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			if r := checkFile(b, path, Options{}); !r.Clean() {
				b.Fatal(r.Err())
			}
		}
	})
	b.Run("e2fsck", func(b *testing.B) {
		for b.Loop() {
			tool(b, "e2fsck", "-fn", path)
		}
	})
}
