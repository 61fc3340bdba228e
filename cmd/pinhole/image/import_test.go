package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"pinhole/cmd/pinhole/image/tarfile"
)

// entry is an entry of a layer made for a test.
type entry struct {
	tarfile.Header
	content string
}

func file(name, content string) entry {
	return entry{tarfile.Header{Name: name, Type: tarfile.Regular, Mode: 0o644, Size: int64(len(content)), Mtime: tarfile.Time{Sec: 1e9}}, content}
}

func dir(name string) entry {
	return entry{Header: tarfile.Header{Name: name, Type: tarfile.Directory, Mode: 0o755, Mtime: tarfile.Time{Sec: 1e9}}}
}

func symlink(name, to string) entry {
	return entry{Header: tarfile.Header{Name: name, Type: tarfile.Symlink, Mode: 0o777, Linkname: to, Mtime: tarfile.Time{Sec: 1e9}}}
}

func hardlink(name, to string) entry {
	return entry{Header: tarfile.Header{Name: name, Type: tarfile.Hardlink, Linkname: to}}
}

// archive makes a tar archive.
func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tarfile.NewWriter(&buf)
	for i := range entries {
		if err := w.Header(&entries[i].Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, entries[i].content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(p []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(p)
	w.Close()
	return buf.Bytes()
}

func zst(p []byte) []byte {
	var buf bytes.Buffer
	w, _ := zstd.NewWriter(&buf)
	w.Write(p)
	w.Close()
	return buf.Bytes()
}

func sha(p []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(p)) }

// container is a container image made for a test: files of an OCI layout or a docker archive.
type container map[string][]byte

func (c container) blob(p []byte, mediaType string) map[string]any {
	c["blobs/"+strings.Replace(sha(p), ":", "/", 1)] = p
	return map[string]any{"mediaType": mediaType, "digest": sha(p), "size": len(p)}
}

func (c container) json(v any, mediaType string) map[string]any {
	p, _ := json.Marshal(v)
	return c.blob(p, mediaType)
}

const (
	testConfig   = "application/vnd.oci.image.config.v1+json"
	testManifest = "application/vnd.oci.image.manifest.v1+json"
	testIndex    = "application/vnd.oci.image.index.v1+json"
	testLayer    = "application/vnd.oci.image.layer.v1.tar"
)

func configJSON(arch string, layers ...[]byte) map[string]any {
	var ids []string
	for _, l := range layers {
		ids = append(ids, sha(l))
	}
	return map[string]any{"architecture": arch, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/bin/sh", "-c"}, "Cmd": []string{"echo it's me"}, "Env": []string{"PATH=/bin", "X=1\n2"}, "WorkingDir": "/work", "User": "1000"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids}}
}

// image adds an image of these layers, packed in turn in all ways, and returns its manifest's descriptor.
func (c container) image(arch string, layers ...[]byte) map[string]any {
	var list []any
	for i, l := range layers {
		pack := []func([]byte) []byte{func(p []byte) []byte { return p }, gz, zst}[i%3]
		list = append(list, c.blob(pack(l), testLayer+[]string{"", "+gzip", "+zstd"}[i%3]))
	}
	return c.json(map[string]any{"schemaVersion": 2, "mediaType": testManifest, "config": c.json(configJSON(arch, layers...), testConfig), "layers": list}, testManifest)
}

func (c container) index(manifests ...map[string]any) container {
	c["oci-layout"] = []byte(`{"imageLayoutVersion":"1.0.0"}`)
	c["index.json"], _ = json.Marshal(map[string]any{"schemaVersion": 2, "manifests": manifests})
	return c
}

func docker(arch string, layers ...[]byte) container {
	c := container{}
	config, _ := json.Marshal(configJSON(arch, layers...))
	var names []string
	for i, l := range layers {
		name := fmt.Sprintf("%064x/layer.tar", i)
		c[name] = l
		names = append(names, name)
	}
	id := strings.TrimPrefix(sha(config), "sha256:") + ".json"
	c[id] = config
	c["manifest.json"], _ = json.Marshal([]any{map[string]any{"Config": id, "RepoTags": []string{"test:1", "test:latest"}, "Layers": names}})
	return c
}

// dir writes the files to a directory, and tar to an archive.
func (c container) dir(t testing.TB) string {
	d := t.TempDir()
	for name, p := range c {
		os.MkdirAll(filepath.Join(d, filepath.Dir(name)), 0o755)
		if err := os.WriteFile(filepath.Join(d, name), p, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (c container) tar(t testing.TB) []byte {
	// First what tells what it is, since it is looked for at the front only.
	var list []entry
	for _, first := range []bool{true, false} {
		for name, p := range c {
			if (strings.HasPrefix(name, "blobs") || strings.HasPrefix(name, "00")) == first {
				list = append(list, file(name, string(p)))
			}
		}
	}
	return archive(t, list...)
}

func save(t testing.TB, name string, p []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// importCommand is the command with what the command line sets by default.
func importCommand(image, source string) *importCmd {
	return &importCmd{Image: image, Source: source, To: "/", Platform: defaultPlatform, Quiet: true}
}

// imported makes an image of a source.
func imported(t testing.TB, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	ok(t, importCommand(path, source))
	e2fsck(t, path)
	return path
}

// stdin lets the command read p from a pipe.
func stdin(t testing.TB, p []byte) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdin
	os.Stdin = r
	go func() { w.Write(p); w.Close() }()
	t.Cleanup(func() { os.Stdin = old; r.Close() })
}

// testLayers exercise what layers do to each other.
func testLayers(t testing.TB) [][]byte {
	suid := file("bin/su", "su")
	suid.Mode, suid.UID, suid.GID = 0o4755, 0, 42
	cap := file("bin/ping", "ping")
	cap.Xattrs = map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "user.x": "1"}
	cap.Mtime = tarfile.Time{Sec: 1234567890, Nsec: 987654321}
	null := entry{Header: tarfile.Header{Name: "dev/null", Type: tarfile.Char, Mode: 0o666, Major: 1, Minor: 3}}
	fifo := entry{Header: tarfile.Header{Name: "dev/fifo", Type: tarfile.Fifo, Mode: 0o600}}
	sparse := entry{tarfile.Header{Name: "sparse", Type: tarfile.Regular, Mode: 0o600, Size: 5 << 40, Sparse: []tarfile.Segment{{Off: 1 << 30, Len: 4096}}}, strings.Repeat("s", 4096)}
	opaque := dir("opq/")
	opaque.Xattrs = map[string]string{"user.old": "1"}
	opaqueAgain := dir("opq/")
	opaqueAgain.Mode, opaqueAgain.UID = 0o700, 9
	return [][]byte{
		archive(t, dir("./"), dir("bin/"), suid, cap, dir("dev/"), null, fifo, sparse, dir("etc/"), file("etc/gone", "x"), file("etc/kept", "lower"),
			opaque, file("opq/lower", "x"), dir("opq/sub/"), file("opq/sub/deep", "x"),
			dir("tree/"), file("tree/a", "x"), file("tree/b", "x"), file("was-file", "x"), dir("was-dir/"), file("was-dir/x", "x"), symlink("was-link", "etc"), symlink("lib", "usr/lib"), dir("usr/lib/"),
			file("linked", "lower"), file("same-layer", "old")),
		archive(t, file("etc/.wh.gone", ""), hardlink("linked2", "linked"), file("opq/upper", "upper"), file("opq/.wh..wh..opq", ""), opaqueAgain,
			file(".wh.tree", ""), dir("was-file/"), file("was-file/y", "y"), file("was-dir", "now a file"), dir("was-link/"), file("was-link/z", "z"),
			file("lib/libc.so", "through the link"), file("same-layer", "new"), file(".wh.same-layer", ""), file(".wh..wh.plnk/1.2", "aufs")),
		archive(t, dir("tree/"), file("tree/c", "again"), hardlink("linked3", "linked2"), file(".wh.linked", ""), file("late/dir/file", "x"), dir("late/dir/"), file("nothing/.wh.there", "")),
	}
}

func TestImportLayers(t *testing.T) {
	layers := testLayers(t)
	layout := container{}
	m := layout.image("amd64", layers...)
	other := layout.image("arm64", archive(t, file("wrong", "platform")))
	m["annotations"] = map[string]any{"org.opencontainers.image.ref.name": "v1"}
	layout.index(m, other)
	nested := container{}
	a, b := nested.image("amd64", layers...), nested.image("arm64", archive(t, file("wrong", "x")))
	a["platform"] = map[string]any{"os": "linux", "architecture": "amd64"}
	b["platform"] = map[string]any{"os": "linux", "architecture": "arm64", "variant": "v8"}
	attest := nested.json(map[string]any{"mediaType": testManifest}, testManifest)
	attest["platform"] = map[string]any{"os": "unknown", "architecture": "unknown"}
	nested.index(nested.json(map[string]any{"schemaVersion": 2, "mediaType": testIndex, "manifests": []any{b, attest, a}}, testIndex))
	dockerSave := docker("amd64", layers...)

	var first map[string]string
	for _, test := range []struct {
		name string
		path func(t *testing.T) string
	}{
		{"layout", func(t *testing.T) string { return imported(t, layout.dir(t)) }},
		{"nested index", func(t *testing.T) string { return imported(t, nested.dir(t)) }},
		{"layout in an archive", func(t *testing.T) string { return imported(t, save(t, "a.tar", layout.tar(t))) }},
		{"layout in a packed archive", func(t *testing.T) string { return imported(t, save(t, "a.tar.zst", zst(layout.tar(t)))) }},
		{"layout by a pipe", func(t *testing.T) string { stdin(t, gz(layout.tar(t))); return imported(t, "-") }},
		{"docker save", func(t *testing.T) string { return imported(t, save(t, "a.tar", dockerSave.tar(t))) }},
		{"docker save by a pipe", func(t *testing.T) string { stdin(t, dockerSave.tar(t)); return imported(t, "-") }},
		{"docker save, unpacked", func(t *testing.T) string { return imported(t, dockerSave.dir(t)) }},
		{"create", func(t *testing.T) string {
			path := create(t, createCmd{From: layout.dir(t)})
			e2fsck(t, path)
			return path
		}},
		{"layer by layer", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "disk.img")
			for i, l := range layers {
				c := importCommand(path, save(t, "layer", l))
				if i == 1 {
					stdin(t, l)
					c.Source = "-"
				}
				c.Layer = true
				ok(t, c)
				e2fsck(t, path)
			}
			return path
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := describe(t, test.path(t))
			for p, d := range got {
				// Nobody says when these were made.
				if p == "/late" || p == "/nothing" || p == "/usr" {
					got[p] = d[:10]
				}
			}
			// Attributes of a directory that a later layer has anew: those of one image are replaced.
			if test.name == "layer by layer" {
				got["/opq"] = strings.Replace(got["/opq"], ` user.old="1"`, "", 1)
			}
			if first == nil {
				first = got
			}
			if d := cmp.Diff(first, got); d != "" {
				t.Errorf("differs from the layout (-layout +this):\n%s", d)
			}
			want := "/bin /bin/ping /bin/su /dev /dev/fifo /dev/null /etc /etc/kept /late /late/dir /late/dir/file /lib /linked2 /linked3 /opq /opq/upper /same-layer /sparse /tree /tree/c /usr /usr/lib /usr/lib/libc.so /was-dir /was-file /was-file/y /was-link /was-link/z"
			if names(got) != want {
				t.Errorf("has\n%s\nwant\n%s", names(got), want)
			}
			for p, want := range map[string]string{
				"/bin/su":   "-rwsr-xr-x 0:42 mtime 1000000000.000000000",
				"/bin/ping": `mtime 1234567890.987654321`,
				"/dev/null": "crw-rw-rw- 0:0",
				"/dev":      "mtime 1000000000.000000000",
				"/etc":      "mtime 1000000000.000000000",
				"/":         "drwxr-xr-x 0:0 mtime 1000000000.000000000",
				"/opq":      "drwx------ 9:0 mtime 1000000000.000000000",
				"/linked2":  "links 2",
				"/linked3":  "same as /linked2",
				"/sparse":   fmt.Sprintf("size %d", int64(5<<40)),
				"/was-dir":  "-rw-",
				"/was-link": "drwx",
				"/late/dir": "mtime 1000000000.000000000",
				"/lib":      "-> usr/lib",
			} {
				if !strings.Contains(got[p], want) {
					t.Errorf("%s: %s, want %q in it", p, got[p], want)
				}
			}
			if !strings.Contains(got["/sparse"], fmt.Sprintf("data %d-%d", 1<<30, 1<<30+4096)) {
				t.Errorf("the sparse file is %s", got["/sparse"])
			}
			if !strings.Contains(got["/bin/ping"], `security.capability="\x01\x00\x00\x02`) || !strings.Contains(got["/bin/ping"], `user.x="1"`) {
				t.Errorf("attributes: %s", got["/bin/ping"])
			}
		})
	}
}
