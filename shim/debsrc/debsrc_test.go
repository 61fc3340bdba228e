package debsrc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("sources.list", "# places\ndeb http://a.example/debian bookworm main contrib\ndeb-src http://a.example/debian bookworm main\n")
	write("sources.list.d/debian.sources", `Types: deb
# a comment
URIs: http://b.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://c.example/debian
Suites: bookworm
Components: main

Types: deb deb-src
Enabled: no
URIs: http://d.example/debian
Suites: bookworm
Components: main

types: deb deb-src
URIs: http://e.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
`)
	write("sources.list.d/old.list.disabled", "deb http://x.example/debian bookworm main\n")

	got, err := Sources(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{
		"sources.list": []byte("deb-src http://a.example/debian bookworm main contrib\n"),
		"debian.sources": []byte(`Types: deb-src
URIs: http://b.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://e.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
}

func TestNoSources(t *testing.T) {
	if got, err := Sources(t.TempDir()); err == nil {
		t.Errorf("an empty folder gave %v", got)
	}
}

func TestField(t *testing.T) {
	dsc := []byte("Format: 3.0 (quilt)\nSource: musl\nVersion: 1.2.3-1\nVersion: 2\n")
	if got := field(dsc, "Version"); got != "1.2.3-1" {
		t.Errorf("version %q", got)
	}
}
