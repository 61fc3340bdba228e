package abi

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFromLinux(t *testing.T) {
	const minus100 = 1<<64 - 100
	args := [6]uint64{10, 11, 12, 13, 14, 15}
	for _, c := range []struct {
		nr   uint64
		args [6]uint64
		call uint64
		out  []uint64 // the arguments that the call has
	}{
		{0, args, CallFileRead, []uint64{10, 11, 12}},
		{2, args, CallPathOpen, []uint64{minus100, 10, 11, 12}},
		{85, args, CallPathOpen, []uint64{minus100, 10, 0x241, 11}},
		{82, args, CallPathRename, []uint64{minus100, 10, minus100, 11, 0}},
		{4, args, CallPathStat, []uint64{minus100, 10, 11, 0}},
		{6, args, CallPathStat, []uint64{minus100, 10, 11, AT_SYMLINK_NOFOLLOW}},
		{84, args, CallPathUnlink, []uint64{minus100, 10, AT_REMOVEDIR}},
		{113, args, CallCredSetreuid, []uint64{10, 11}},
		{158, [6]uint64{ARCH_SET_FS, 0x1000}, CallThreadSetTls, []uint64{0x1000}},
		{56, args, CallThreadCreate, []uint64{10, 11, 12, 13, 14, 0}},
		{200, args, CallSignalThread, []uint64{1<<64 - 1, 10, 11}},
	} {
		var out [6]uint64
		call, ok := FromLinux(c.nr, &c.args, &out)
		if !ok || call != c.call {
			t.Errorf("%s: call %d, %v", LinuxName(c.nr), call, ok)
			continue
		}
		if diff := cmp.Diff(c.out, out[:len(LookupCall(call).Args)]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", LinuxName(c.nr), diff)
		}
	}
	for nr, args := range map[uint64][6]uint64{158: {ARCH_GET_FS}, 101: {}, 1000: {}, 1 << 63: {}, LinuxBase: {}} {
		var out [6]uint64
		if call, ok := FromLinux(nr, &args, &out); ok {
			t.Errorf("%d %s became call %d", nr, LinuxName(nr), call)
		}
	}
}

func TestLookup(t *testing.T) {
	if c := LookupCall(CallFileRead); c == nil || c.Name != "file_read" || len(c.Args) != 3 || c.Args[0] != (Arg{"fd", TypeFD}) || c.Result != TypeSize {
		t.Errorf("file_read is %+v", c)
	}
	for _, nr := range []uint64{5, CallTop, 1 << 63} {
		if c := LookupCall(nr); c != nil {
			t.Errorf("call %d is %+v", nr, c)
		}
	}
	for nr, want := range map[uint64]string{0: "read", 231: "exit_group", 470: "listns", 400: "", 471: "", 1 << 63: ""} {
		if got := LinuxName(nr); got != want {
			t.Errorf("Linux call %d is %q, want %q", nr, got, want)
		}
	}
	for nr := range uint64(CallTop) {
		c := LookupCall(nr)
		if c == nil {
			continue
		}
		for _, e := range c.Errors {
			if e == 0 || int(e) >= len(errnos) || errnos[e].name == "" {
				t.Errorf("%s returns unknown error %d", c.Name, int(e))
			}
		}
	}
}
