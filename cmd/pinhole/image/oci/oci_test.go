package oci

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pinhole/cmd/pinhole/image/tarfile"
)

// memory is a store in memory.
type memory map[string][]byte

func (m memory) Close() error { return nil }
func (m memory) Open(name string) (File, error) {
	p, ok := m[name]
	if !ok {
		return File{}, fs.ErrNotExist
	}
	return File{io.NopCloser(bytes.NewReader(p)), int64(len(p))}, nil
}

func TestDigest(t *testing.T) {
	for _, d := range []Digest{"", "sha256", "sha256:", "sha256:xyz", Digest("sha256:" + strings.Repeat("A", 64)), Digest("sha256:" + strings.Repeat("a", 63)),
		Digest("sha512:" + strings.Repeat("a", 64)), Digest("sha1:" + strings.Repeat("a", 40)), "sha256:../../../etc/passwd"} {
		if _, err := d.newHash(); err == nil {
			t.Errorf("%q is a digest", d)
		}
	}
	p := []byte("content")
	d := Digest(fmt.Sprintf("sha512:%x", sha512.Sum512(p)))
	for _, c := range []struct {
		content string
		ok      bool
	}{{"content", true}, {"contents", false}, {"", false}} {
		v, err := newVerifier(strings.NewReader(c.content), "it", d, -1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, v)
		var m *MismatchError
		if (err == nil) != c.ok || errors.As(err, &m) == c.ok {
			t.Errorf("%q: %v", c.content, err)
		}
	}
}

func TestRefs(t *testing.T) {
	for _, c := range []struct {
		name, ref string
		want      bool
	}{
		{"docker.io/library/alpine:latest", "alpine", true}, {"docker.io/library/alpine:latest", "alpine:latest", true}, {"docker.io/library/alpine:latest", "latest", true},
		{"docker.io/library/alpine:3", "alpine", false}, {"docker.io/library/alpine:3", "library/alpine:3", true}, {"docker.io/library/alpine:3", "pine:3", false}, {"v1", "v1", true}, {"", "x", false},
	} {
		if sameRef(c.name, c.ref) != c.want {
			t.Errorf("%s by %s: %v", c.name, c.ref, !c.want)
		}
	}
}

func TestMayHold(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for name, want := range map[string]bool{"blobs/": true, "./blobs/sha256/x": true, "index.json": true, "oci-layout": true, "manifest.json": true, "repositories": true, hex + "/": true, hex + ".json": true, hex + ".tar": true, "./": true,
		"bin/": false, "etc/passwd": false, hex[1:] + "/": false} {
		if MayHold(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// TestDirLinks: a link of a hostile layout does not lead out of it.
func TestDirLinks(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600)
	os.Mkdir(filepath.Join(dir, "layout"), 0o700)
	os.Symlink("../secret", filepath.Join(dir, "layout/index.json"))
	os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "layout/oci-layout"))
	s, err := OpenDir(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"index.json", "oci-layout", "../secret", "."} {
		if f, err := s.Open(name); err == nil {
			f.Close()
			t.Errorf("%s can be opened", name)
		}
	}
}

func TestTarStore(t *testing.T) {
	var buf bytes.Buffer
	w := tarfile.NewWriter(&buf)
	for _, h := range []tarfile.Header{
		{Name: "./a/b", Type: tarfile.Regular, Size: 1}, {Name: "a/link", Type: tarfile.Symlink, Linkname: "b"}, {Name: "up", Type: tarfile.Symlink, Linkname: "../../a/link"},
		{Name: "hard", Type: tarfile.Hardlink, Linkname: "a/b"}, {Name: "loop", Type: tarfile.Symlink, Linkname: "loop"},
	} {
		if err := w.Header(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			w.Write([]byte("x"))
		}
	}
	w.Close()
	s, err := OpenTar(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b", "a/link", "up", "hard", "../a/b"} {
		f, err := s.Open(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p, err := io.ReadAll(f); err != nil || string(p) != "x" {
			t.Errorf("%s: %q, %v", name, p, err)
		}
	}
	for _, name := range []string{"loop", "none", "a"} {
		if _, err := s.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzOpen: no document makes the reader crash, hang or take much memory.
func FuzzOpen(f *testing.F) {
	config := `{"architecture":"amd64","os":"linux","config":{"Cmd":["x"]},"rootfs":{"type":"layers","diff_ids":["sha256:` + strings.Repeat("0", 64) + `"]}}`
	f.Add([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:x","size":3,"platform":{"os":"linux","architecture":"amd64"}}]}`), []byte(config), []byte(`[{"Config":"config","Layers":["layer"],"RepoTags":["a:b"]}]`), true)
	f.Add([]byte(`{}`), []byte(config), []byte(`[{"Config":"config","Layers":["layer"]}]`), false)
	f.Fuzz(func(t *testing.T, index, config, manifest []byte, layout bool) {
		s := memory{"config": config, "layer": []byte("x"), "manifest.json": manifest}
		if layout {
			s["oci-layout"], s["index.json"] = []byte(`{"imageLayoutVersion":"1.0.0"}`), index
		}
		im, err := Open(s, Choice{Platform: "linux/amd64"})
		if err != nil {
			return
		}
		for i := range im.Layers {
			if r, err := im.Layers[i].Open(); err == nil {
				io.Copy(io.Discard, r)
				r.Close()
			}
		}
	})
}
