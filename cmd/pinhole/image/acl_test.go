package image

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestParseACL(t *testing.T) {
	const want = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" + "\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	for _, text := range []string{
		"user::rw-,user:1000:r--,group::r--,mask::r--,other::---",
		"user::rw-\nuser:joe:r--:1000\ngroup::r-- # effective\nmask:r--\nother:---\n",
		"other::---,mask::r--,user:1000:r--,group::r--,user::rw-",
	} {
		if got, err := parseACL(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if got, err := parseACL("user::rw-,group::r--,other::r--"); err != nil || got != "" {
		t.Errorf("what the mode says: %q, %v", got, err)
	}
	for _, bad := range []string{"user", "user:joe:r--,user::r,group::r,other::r", "x::rwx,a,b,c", "user::rwz", "user:4294967295:r--"} {
		if got, err := parseACL(bad); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

// TestImportACL: ACLs come along in either form, or it is said that they do not.
func TestImportACL(t *testing.T) {
	text := file("text", "x")
	text.AccessACL = "user::rw-,user:1000:r--,group::r--,mask::r--,other::---"
	raw := file("raw", "x")
	acl, _ := parseACL(text.AccessACL)
	raw.Xattrs = map[string]string{aclAccess: acl}
	raw.Mode, text.Mode = 0o640, 0o640
	image := filepath.Join(t.TempDir(), "disk.img")
	ok(t, importCommand(image, save(t, "a.tar", archive(t, raw))))
	e2fsck(t, image)
	got := describe(t, image)["/raw"]
	if !strings.Contains(got, aclAccess) {
		t.Skipf("the file system keeps no ACLs yet: %s", got)
	}
	// The writer here has only the other form.
	im, err := Open(image, true)
	if err != nil {
		t.Fatal(err)
	}
	w := newWriter(im, nil)
	if err := w.tarEntry("/text", &text.Header, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	w.close()
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	all := describe(t, image)
	if all["/text"] != all["/raw"] {
		t.Errorf("%s\n%s", all["/text"], all["/raw"])
	}
	e2fsck(t, image)
	again := imported(t, exportFile(t, image, "/"))
	if a := describe(t, again)["/text"]; a != all["/text"] {
		t.Errorf("%s, exported and imported %s", all["/text"], a)
	}
}
