// Package launch makes a sandbox process and puts the second layer around it: what would
// still hold an intruder for whom the lock of package seccomp had a hole.
//
// The work is in three steps. [Start], in the supervisor, makes the process with its
// namespaces, its descriptors and a cgroup. [Enclose], first thing in the process, takes
// away its root directory, its rights to files and its capabilities. [Seal], when the
// process has everything it needs and just before the lock, sets resource limits.
//
// No step needs root. A step that the host forbids, such as user namespaces in many
// containers, is left out and reported; with Require it is an error. A step that the host
// allows and that fails otherwise is always an error.
package launch

import (
	"fmt"
	"strings"
)

// Layers is a set of the second layer's parts.
type Layers uint32

const (
	UserNamespace   Layers = 1 << iota // root of the host has no meaning inside
	MountNamespace                     // mounts of its own, none of them the host's
	PIDNamespace                       // sees no other process
	NetNamespace                       // no network device, not even a loopback that is up
	IPCNamespace                       // no System V or POSIX message queues of others
	UTSNamespace                       // not the host's name
	CgroupNamespace                    // does not see where its cgroup lies
	EmptyRoot                          // its root directory is empty and deleted
	Landlock                           // may open no file, connect to no port, signal nobody outside
	NoCapabilities                     // no capability in any set that counts
	NoNewPrivileges                    // an executed file gives no privilege
	Undumpable                         // no core dump, no attaching by the same user
	ResourceLimits                     // see Limits
	ControlGroup                       // memory and tasks bounded by the host
	endOfLayers

	AllLayers = endOfLayers - 1
)

var layerNames = []string{
	"user namespace", "mount namespace", "pid namespace", "net namespace", "ipc namespace", "uts namespace", "cgroup namespace",
	"empty root", "landlock", "no capabilities", "no new privileges", "not dumpable", "resource limits", "control group",
}

// Names lists the layers in the set.
func (l Layers) Names() []string {
	var out []string
	for i, name := range layerNames {
		if l&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

func (l Layers) String() string { return strings.Join(l.Names(), ", ") }

// MissingError says that layers which were required cannot be had on this host.
type MissingError struct{ Layers Layers }

func (e *MissingError) Error() string {
	return fmt.Sprintf("this host does not allow these protections: %s (allow them, or run without requiring them: the system call filter holds by itself)", e.Layers)
}
