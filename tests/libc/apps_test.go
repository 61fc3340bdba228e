// Package libc tests the libc back-end with real programs: each runs natively and in the
// sandbox, and must say the same.
package libc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/tests/harness"
)

// app returns a program's builds for Pinhole and for the host, or skips the test.
func app(t *testing.T, name string) (guest, native string) {
	t.Helper()
	guest = filepath.Join(harness.Root(), "build", "apps", name)
	native = filepath.Join(harness.Root(), "build", "native", name)
	for _, p := range []string{guest, native} {
		if _, err := os.Stat(p); err != nil {
			t.Skipf("%s is not built: run 'go run ./cmd/dev build'", name)
		}
	}
	return guest, native
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestSQLite runs the main job: the database made in the sandbox is the one that the host's
// own sqlite3 finds in the image, whole and with the same content.
func TestSQLite(t *testing.T) {
	pinhole := harness.Pinhole(t)
	guest, native := app(t, "sqlite3")
	sql := read(t, "src/work.sql")
	dir := t.TempDir()
	want := harness.Exec(t, dir, sql, native, "data.db")
	if want.Status != 0 {
		t.Fatalf("native: exit status %d\n%s", want.Status, want.Stderr)
	}
	img := harness.Image(t, "128M", map[string]string{"/sqlite3": guest})
	got := harness.Exec(t, "", sql, pinhole, "run", "--image", img, "--cwd", "/", "/sqlite3", "/data.db")
	if got.Status != 0 {
		t.Fatalf("in the sandbox: exit status %d\n%s", got.Status, got.Stderr)
	}
	if diff := cmp.Diff(want.Stdout, got.Stdout); diff != "" {
		t.Errorf("output (-native +sandbox):\n%s", diff)
	}
	harness.Fsck(t, img)

	out := filepath.Join(t.TempDir(), "data.db")
	harness.Must(t, pinhole, "image", "get", img, "/data.db", out)
	host := harness.Tool(t, "sqlite3", "sqlite3")
	if s := harness.Must(t, host, out, "PRAGMA integrity_check"); s != "ok\n" {
		t.Errorf("the host's sqlite3 finds: %s", s)
	}
	const dump = "SELECT * FROM item ORDER BY id"
	if a, b := harness.Must(t, host, filepath.Join(dir, "data.db"), dump), harness.Must(t, host, out, dump); a != b {
		t.Errorf("content differs: %d and %d bytes", len(a), len(b))
	}
	// The same through e2fsprogs alone.
	viaDebugfs := filepath.Join(t.TempDir(), "debugfs.db")
	harness.Must(t, harness.Tool(t, "debugfs", "e2fsprogs"), "-R", "dump /data.db "+viaDebugfs, img)
	if read(t, viaDebugfs) != read(t, out) {
		t.Error("debugfs reads other bytes than 'pinhole image get'")
	}
}

// TestLua runs a script that uses files and coroutines.
func TestLua(t *testing.T) {
	pinhole := harness.Pinhole(t)
	guest, native := app(t, "lua")
	script, err := filepath.Abs("src/work.lua")
	if err != nil {
		t.Fatal(err)
	}
	want := harness.Exec(t, t.TempDir(), "", native, script)
	if want.Status != 0 {
		t.Fatalf("native: exit status %d\n%s", want.Status, want.Stderr)
	}
	img := harness.Image(t, "64M", map[string]string{"/lua": guest, "/work.lua": script})
	got := harness.Exec(t, "", "", pinhole, "run", "--image", img, "--cwd", "/", "/lua", "/work.lua")
	if got.Status != 0 {
		t.Errorf("in the sandbox: exit status %d\n%s", got.Status, got.Stderr)
	}
	if diff := cmp.Diff(want.Stdout, got.Stdout); diff != "" {
		t.Errorf("output (-native +sandbox):\n%s", diff)
	}
	harness.Fsck(t, img)
}

// TestZlib runs zlib's own test programs.
func TestZlib(t *testing.T) {
	pinhole := harness.Pinhole(t)
	for _, prog := range []string{"example", "example64", "infcover"} {
		t.Run(prog, func(t *testing.T) {
			guest, native := app(t, "zlib-"+prog)
			want := harness.Exec(t, t.TempDir(), "", native)
			img := harness.Image(t, "64M", map[string]string{"/test": guest})
			got := harness.Exec(t, "", "", pinhole, "run", "--image", img, "--cwd", "/", "/test")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-native +sandbox):\n%s", diff)
			}
			harness.Fsck(t, img)
		})
	}
	t.Run("minigzip", func(t *testing.T) {
		guest, native := app(t, "zlib-minigzip")
		src := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(src, []byte(read(t, "src/work.sql")+read(t, "apps_test.go")), 0o644); err != nil {
			t.Fatal(err)
		}
		plain := read(t, src)
		img := harness.Image(t, "64M", map[string]string{"/minigzip": guest, "/data": src})
		r := harness.Exec(t, "", "", pinhole, "run", "--image", img, "--cwd", "/", "/minigzip", "-9", "/data")
		if r.Status != 0 {
			t.Fatalf("exit status %d\n%s", r.Status, r.Stderr)
		}
		gz := filepath.Join(t.TempDir(), "data.gz")
		harness.Must(t, pinhole, "image", "get", img, "/data.gz", gz)
		harness.Must(t, native, "-d", gz)
		if read(t, gz[:len(gz)-3]) != plain {
			t.Error("what the sandbox packed, the host does not unpack to the same")
		}
		harness.Fsck(t, img)
	})
}
