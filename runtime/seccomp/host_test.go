package seccomp_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/runtime/host"
	"pinhole/runtime/seccomp"
)

// TestMapRules: the lock admits the mappings that the machine and the Go runtime make, and
// no others.
func TestMapRules(t *testing.T) {
	type rule struct{ FD, Flags uint64 }
	order := func(a, b rule) int { return slices.Compare([]uint64{a.FD, a.Flags}, []uint64{b.FD, b.Flags}) }
	var used, admitted []rule
	for _, r := range host.MapRules {
		used = append(used, rule{seccomp.Mark | uint64(uint32(r.FD)), uint64(r.Flags)})
	}
	for _, row := range seccomp.Table {
		if row.Call != "mmap" {
			continue
		}
		var r rule
		for _, c := range row.If {
			switch c.Arg {
			case 3:
				r.Flags = c.Value
			case 4:
				r.FD = c.Value
			}
		}
		admitted = append(admitted, r)
	}
	slices.SortFunc(used, order)
	slices.SortFunc(admitted, order)
	if diff := cmp.Diff(used, admitted); diff != "" {
		t.Errorf("mappings that the machine makes (-) and the lock admits (+):\n%s", diff)
	}
}

// TestDescriptors: both sides number the descriptors alike.
func TestDescriptors(t *testing.T) {
	machine := []int{host.FDStdin, host.FDStdout, host.FDStderr, host.FDControlIn, host.FDControlOut,
		host.FDDoorbellIn, host.FDDoorbellOut, host.FDEntropy, host.FDImage, host.FDRAM}
	lock := []int{seccomp.Stdin, seccomp.Stdout, seccomp.Stderr, seccomp.ControlIn, seccomp.ControlOut,
		seccomp.DoorbellIn, seccomp.DoorbellOut, seccomp.Entropy, seccomp.Image, seccomp.RAM}
	if diff := cmp.Diff(machine, lock); diff != "" {
		t.Error(diff)
	}
}
