package libc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/tests/harness"
)

// library returns the flags to compile and link a program with SQLite, for Pinhole or for the host.
func library(t *testing.T, build string) []string {
	t.Helper()
	dir := filepath.Join(harness.Root(), "build", build, "objects", "sqlite3")
	object := filepath.Join(dir, "sqlite3.o")
	if _, err := os.Stat(object); err != nil {
		t.Skip("sqlite3 is not built: run 'go run ./cmd/dev build'")
	}
	return []string{"-I" + dir, object, "-lm", "-lpthread"}
}

// TestSQLiteMapped: the database mapped into memory, and the write-ahead log with its index, which is a
// shared mapping that writers store to: the shell's output is the native one, and the host's own sqlite3
// finds the database whole.
func TestSQLiteMapped(t *testing.T) {
	pinhole := harness.Pinhole(t)
	guest, native := app(t, "sqlite3")
	work := read(t, "src/work.sql")
	for _, c := range []struct{ name, pragmas string }{
		{"wal", "PRAGMA journal_mode=wal;\n"},
		{"mapped", "PRAGMA mmap_size=268435456;\n"},
		{"wal,mapped", "PRAGMA journal_mode=wal; PRAGMA mmap_size=268435456; PRAGMA synchronous=normal; PRAGMA wal_autocheckpoint=100;\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sql := c.pragmas + work
			want := harness.Exec(t, t.TempDir(), sql, native, "data.db")
			img := harness.Image(t, "128M", map[string]string{"/sqlite3": guest})
			got := harness.Exec(t, "", sql, pinhole, "run", "--image", img, "--cwd", "/", "/sqlite3", "/data.db")
			if got.Status != 0 {
				t.Fatalf("in the sandbox: exit status %d\n%s", got.Status, got.Stderr)
			}
			if diff := cmp.Diff(want.Stdout, got.Stdout); diff != "" {
				t.Errorf("output (-native +sandbox):\n%s", diff)
			}
			whole(t, pinhole, img, "/data.db")
		})
	}
}

// whole fails the test unless the image, and the database in it, are sound.
func whole(t *testing.T, pinhole, img, db string) {
	t.Helper()
	harness.Fsck(t, img)
	out := filepath.Join(t.TempDir(), "data.db")
	harness.Must(t, pinhole, "image", "get", img, db, out)
	if s := harness.Must(t, harness.Tool(t, "sqlite3", "sqlite3"), out, "PRAGMA integrity_check"); s != "ok\n" {
		t.Errorf("the host's sqlite3 finds: %s", s)
	}
}

// TestSQLiteThreads: connections in threads, two that write and two that read, in each way that SQLite
// keeps a transaction from being half done.
func TestSQLiteThreads(t *testing.T) {
	pinhole := harness.Pinhole(t)
	harness.Sysroot(t)
	const src = "sqlite/threads.c"
	native := harness.NativeCC(t, src, library(t, "native")...)
	guest := harness.GuestCC(t, src, library(t, "apps")...)
	for _, block := range []string{"1024", "4096"} {
		for _, mode := range [][]string{{"wal", "0"}, {"wal", "268435456"}, {"delete", "268435456"}, {"persist", "0"}} {
			t.Run("block="+block+"/"+mode[0]+",mapped="+mode[1], func(t *testing.T) {
				args := append([]string{"/t.db"}, mode...)
				want := harness.Exec(t, "", "", native, filepath.Join(t.TempDir(), "t.db"), mode[0], mode[1])
				img := filepath.Join(t.TempDir(), "disk.img")
				harness.Must(t, harness.Tool(t, "mkfs.ext4", "e2fsprogs"), "-q", "-b", block, img, "64M")
				harness.Must(t, pinhole, "image", "put", img, guest, "/app")
				got := harness.Exec(t, "", "", pinhole, append([]string{"run", "--image", img, "/app"}, args...)...)
				if got.Status != 0 || got.Stdout != want.Stdout {
					t.Errorf("exit status %d\n%s%s, want %s", got.Status, got.Stdout, got.Stderr, want.Stdout)
				}
				whole(t, pinhole, img, "/t.db")
			})
		}
	}
}
