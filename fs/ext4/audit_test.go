package ext4

import (
	"fmt"
	"strings"
	"testing"
)

// Every test of the package fails if a handle changes more blocks than it asked for: the journal
// would have no room for them.
func init() {
	overdrawn = func(begun string, credits, used int32) {
		panic(fmt.Sprintf("the handle begun at %s has %d credits, and changed %d blocks", begun, credits, used))
	}
}

func TestOverdrawn(t *testing.T) {
	fs, _ := mount(t, mkfs(t, "8M", "-b", "1024"), true, Options{})
	defer fs.Unmount()
	h, err := fs.begin(1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		n, err := fs.iget(2)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			h.super()
		} else if err := h.inode(n); err != nil {
			t.Fatal(err)
		}
		n.Unref()
	}
	defer func() {
		if s := fmt.Sprint(recover()); !strings.Contains(s, "audit_test.go") || !strings.Contains(s, "2 blocks") {
			t.Errorf("end of the handle says %q", s)
		}
		h.audit = nil
		h.end()
	}()
	h.end()
}
