package image

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/cmd/pinhole/image/tarfile"
)

// exportFile exports to a file and returns its path.
func exportFile(t testing.TB, image, path string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "export.tar")
	ok(t, &exportCmd{Image: image, Path: path, Output: out})
	return out
}

// TestExportRoundTrip: what is exported and imported again is the same, all of it.
func TestExportRoundTrip(t *testing.T) {
	layout := container{}
	layout.index(layout.image("amd64", testLayers(t)...))
	src := filepath.Join(t.TempDir(), "src")
	fill(t, src)
	for name, image := range map[string]string{"layers": imported(t, layout.dir(t)), "directory": imported(t, src)} {
		t.Run(name, func(t *testing.T) {
			want := describe(t, image)
			archive := exportFile(t, image, "/")
			again := imported(t, archive)
			if d := cmp.Diff(want, describe(t, again)); d != "" {
				t.Errorf("import of the export differs (-want +got):\n%s", d)
			}
			first, _ := os.ReadFile(archive)
			second, _ := os.ReadFile(exportFile(t, again, "/"))
			if !bytes.Equal(first, second) {
				t.Error("the same files give two different archives")
			}
			// And by way of standard output.
			text, err := run(t, &exportCmd{Image: image, Path: "/"})
			if err != nil || text != string(first) {
				t.Errorf("to standard output: %v, %d bytes, want %d", err, len(text), len(first))
			}
		})
	}
}

// TestExportGNU: GNU tar makes the same files of an export as the host's mount has, or as "image get" gives.
func TestExportGNU(t *testing.T) {
	tool, err := exec.LookPath("tar")
	if err != nil {
		t.Skip(err)
	}
	src := filepath.Join(t.TempDir(), "src")
	fill(t, src)
	want := snapshot(t, src)
	image := imported(t, src)
	dst := t.TempDir()
	if out, err := exec.Command(tool, "-xpf", exportFile(t, image, "/"), "-C", dst).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	got := snapshot(t, dst)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("GNU tar makes something else (-want +got):\n%s", d)
	}
}

func TestExportPaths(t *testing.T) {
	src := t.TempDir()
	os.MkdirAll(filepath.Join(src, "a/b"), 0o755)
	os.WriteFile(filepath.Join(src, "a/b/f"), []byte("f"), 0o644)
	os.Symlink("a", filepath.Join(src, "l"))
	image := imported(t, src)
	list := func(path string) string {
		t.Helper()
		f, err := os.Open(exportFile(t, image, path))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var names []string
		for r := tarfile.NewReader(f); ; {
			h, err := r.Next()
			if err == io.EOF {
				return strings.Join(names, " ")
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
		}
	}
	for path, want := range map[string]string{
		"/": "./ ./a/ ./a/b/ ./a/b/f ./l", "a": "./ ./b/ ./b/f", "/a/": "./ ./b/ ./b/f", "/l": "./ ./b/ ./b/f", "/a/b/f": "./f",
	} {
		if got := list(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	fails(t, &exportCmd{Image: image, Path: "/none"}, "/none", "no such file")
	fails(t, &exportCmd{Image: image, Path: "/", Output: t.TempDir()}, "is a directory")
	fails(t, &exportCmd{Image: image, Path: "/", Output: "/nowhere/x.tar"}, "cannot be made")
	fails(t, &exportCmd{Image: "/nowhere/x.img", Path: "/"}, "no such file")
}
