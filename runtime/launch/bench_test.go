package launch

import (
	"io"
	"testing"
)

// BenchmarkStart measures what each layer adds to a sandbox process's life, from the
// supervisor's start of it to its end. The process is the test binary, whose own start is
// the larger part: compare the lines with each other.
func BenchmarkStart(b *testing.B) {
	for _, c := range []struct {
		name    string
		without Layers
		enclose bool
	}{
		{"all", 0, true},
		{"no-cgroup", ControlGroup, true},
		{"no-net", NetNamespace, true},
		{"no-mount", MountNamespace, true},
		{"no-pid", PIDNamespace, true},
		{"no-ipc-uts-cgroup", IPCNamespace | UTSNamespace | CgroupNamespace, true},
		{"no-namespaces", allNamespaces | ControlGroup, true},
		{"nothing", allNamespaces | ControlGroup, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				s, err := begin(Spec{Memory: 256 << 20, Tasks: 64, Without: c.without})
				if err != nil {
					b.Fatal(err)
				}
				if c.enclose {
					if r, err := s.enclose(0); err != nil || r.Err != "" {
						b.Fatal(err, r.Err)
					}
				}
				s.control.Close()
				s.Wait()
				io.Copy(io.Discard, s.status)
				s.status.Close()
			}
		})
	}
}
