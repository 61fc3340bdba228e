package image

import "testing"

// TestCreateValues: values of flags that have a form of their own.
func TestCreateValues(t *testing.T) {
	var u fsUUID
	if err := u.UnmarshalText([]byte("01234567-89ab-cdef-0123-456789abcdef")); err != nil || u[0] != 1 || u[15] != 0xef {
		t.Errorf("UUID: %x, %v", u, err)
	}
	var o rootOwner
	for text, want := range map[string]rootOwner{"1000": {1000, 1000}, "0:5": {0, 5}, "4294967295:1": {1<<32 - 1, 1}} {
		if err := o.UnmarshalText([]byte(text)); err != nil || o != want {
			t.Errorf("owner %s: %v, %v", text, o, err)
		}
	}
	var f features
	if err := f.UnmarshalText([]byte("^orphan_file, ^has_journal,resize_inode")); err != nil || f != (features{noOrphanFile: true, noJournal: true}) {
		t.Errorf("features: %+v, %v", f, err)
	}
	for _, bad := range []string{"", "0123", "x1234567-89ab-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcdef00"} {
		if u.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("UUID %q is accepted", bad)
		}
	}
	for _, bad := range []string{"", "root", "1:", ":1", "-1", "4294967296"} {
		if o.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("owner %q is accepted", bad)
		}
	}
	for _, bad := range []string{"", "^", "^extent", "has_journal,,"} {
		if f.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("features %q are accepted", bad)
		}
	}
}
