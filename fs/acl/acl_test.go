package acl

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
)

var (
	minimal = List{{UserObj, 6, 0}, {GroupObj, 4, 0}, {Other, 0, 0}}
	full    = List{{UserObj, 7, 0}, {User, 6, 1000}, {User, 4, 1001}, {GroupObj, 5, 0}, {Group, 7, 50}, {Mask, 6, 0}, {Other, 1, 0}}
)

func TestForms(t *testing.T) {
	for _, l := range []List{minimal, full} {
		got, e := Parse(l.Value())
		if d := cmp.Diff(l, got); d != "" || e != 0 {
			t.Errorf("through an attribute: %v\n%s", e, d)
		}
		got, ok := ParseDisk(l.Disk())
		if d := cmp.Diff(l, got); d != "" || !ok {
			t.Errorf("through the disk: %v\n%s", ok, d)
		}
	}
	// What setfacl -m u:1000:rw makes of a file with mode 0640.
	want := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
		16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}
	l, e := Parse(want)
	if e != 0 || !slices.Equal(l.Value(), want) {
		t.Errorf("%v, %v", l, e)
	}
	for _, tt := range []struct {
		value []byte
		want  abi.Errno
	}{
		{nil, 0}, {want[:4], 0}, {want[:3], abi.EINVAL}, {want[:12], abi.EINVAL}, {want[:11], abi.EINVAL},
		{append([]byte{1}, want[1:]...), abi.EOPNOTSUPP},
		{slices.Concat(want[:4], want[12:]), abi.EINVAL},              // no owner
		{slices.Concat(want[:28], want[36:]), abi.EINVAL},             // no mask
		{slices.Concat(want[:12], want[4:12], want[12:]), abi.EINVAL}, // two owners
	} {
		if _, e := Parse(tt.value); e != tt.want {
			t.Errorf("%v: %v, want %v", tt.value, e, tt.want)
		}
	}
}

func TestMode(t *testing.T) {
	if m, min := minimal.Mode(0o100777); m != 0o100640 || !min {
		t.Errorf("%o, %v", m, min)
	}
	if m, min := full.Mode(0o104000); m != 0o104761 || min {
		t.Errorf("%o, %v", m, min)
	}
	l := slices.Clone(full)
	l.SetMode(0o742)
	want := List{{UserObj, 7, 0}, {User, 6, 1000}, {User, 4, 1001}, {GroupObj, 5, 0}, {Group, 7, 50}, {Mask, 4, 0}, {Other, 2, 0}}
	if d := cmp.Diff(want, l); d != "" {
		t.Error(d)
	}
	l = slices.Clone(minimal)
	if l.SetMode(0o751); !slices.Equal(l, List{{UserObj, 7, 0}, {GroupObj, 5, 0}, {Other, 1, 0}}) {
		t.Error(l)
	}
	l = slices.Clone(full)
	if m := l.Inherit(0o100664); m != 0o100660 || l[5].Perm != 6 || l[0].Perm != 6 || l[6].Perm != 0 || l[3].Perm != 5 {
		t.Errorf("%o, %v", m, l)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(full.Value())
	f.Add(minimal.Disk())
	f.Fuzz(func(t *testing.T, p []byte) {
		if l, e := Parse(p); e == 0 {
			if again, e := Parse(l.Value()); e != 0 || !slices.Equal(l, again) {
				t.Fatal(l, again, e)
			}
			l.Mode(0)
			l.SetMode(0)
		}
		if l, ok := ParseDisk(p); ok && len(l) > 0 && !slices.Equal(l.Disk(), p) {
			t.Fatal(l)
		}
	})
}
