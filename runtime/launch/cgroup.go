package launch

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// cgroup is what the host's kernel bounds a sandbox by: one directory in each hierarchy that
// has a controller of interest. Both versions of cgroups are used as they are found
// (cgroups(7)).
type cgroup struct {
	dirs []string
}

// cgroupLimit is one controller's file and the value to put there.
type cgroupLimit struct {
	controller string
	v1, v2     string // file names
	value      int64
}

// cgroupNumber tells the cgroups of one supervisor apart.
var cgroupNumber atomic.Uint32

// newCgroup makes a cgroup below the caller's own, with limits. It returns an error that
// satisfies forbidden or fs.ErrNotExist when the user may not have one here.
func newCgroup(limits []cgroupLimit) (*cgroup, error) {
	parents, err := ownCgroups()
	if err != nil {
		return nil, err
	}
	cg := &cgroup{}
	made := map[string]string{} // parent to ours
	name := fmt.Sprintf("pinhole-%d-%d", os.Getpid(), cgroupNumber.Add(1))
	for _, l := range limits {
		parent, ok := parents[l.controller]
		if !ok {
			cg.remove()
			return nil, fmt.Errorf("no cgroup with the %s controller: %w", l.controller, fs.ErrNotExist)
		}
		dir, ok := made[parent.dir]
		if !ok {
			go sweep(parent.dir)
			dir = filepath.Join(parent.dir, name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				cg.remove()
				return nil, fmt.Errorf("make a cgroup: %w", err)
			}
			made[parent.dir] = dir
			cg.dirs = append(cg.dirs, dir)
		}
		file := l.v1
		if parent.v2 {
			file = l.v2
		}
		if err := os.WriteFile(filepath.Join(dir, file), strconv.AppendInt(nil, l.value, 10), 0); err != nil {
			cg.remove()
			return nil, fmt.Errorf("limit a cgroup: %w", err)
		}
	}
	return cg, nil
}

// add puts a process into the cgroup.
func (c *cgroup) add(pid int) error {
	for _, dir := range c.dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0); err != nil {
			return fmt.Errorf("put the sandbox into its cgroup: %w", err)
		}
	}
	return nil
}

// remove takes the cgroup away; its processes must have ended.
func (c *cgroup) remove() {
	for _, dir := range c.dirs {
		syscall.Rmdir(dir)
	}
}

// sweep removes what supervisors that were killed have left behind.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, "pinhole-*-*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), "pinhole-"), "-")
		n, err := strconv.Atoi(pid)
		if err == nil && n > 0 && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			syscall.Rmdir(dir) // fails while a process is in it
		}
	}
}

// cgroupParent is the directory of the caller's own cgroup in one hierarchy.
type cgroupParent struct {
	dir string
	v2  bool
}

// ownCgroups finds the caller's cgroup for each controller.
func ownCgroups() (map[string]cgroupParent, error) {
	mounts, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]cgroupParent{}
	s := bufio.NewScanner(f)
	for s.Scan() { // hierarchy:controllers:path
		part := strings.SplitN(s.Text(), ":", 3)
		if len(part) != 3 {
			continue
		}
		v2 := part[0] == "0"
		for _, controller := range strings.Split(part[1], ",") { // of version 2: one empty name
			m, ok := mounts[controller]
			if !ok {
				continue
			}
			rel, ok := strings.CutPrefix(part[2], strings.TrimSuffix(m.root, "/"))
			if !ok {
				continue // a cgroup that is not below what is mounted here
			}
			dir := filepath.Join(m.dir, rel)
			if !v2 {
				out[controller] = cgroupParent{dir, false}
				continue
			}
			// Children have the controllers that the parent passes on.
			passed, _ := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
			for _, c := range strings.Fields(string(passed)) {
				out[c] = cgroupParent{dir, true}
			}
		}
	}
	return out, s.Err()
}

// cgroupMount says where a hierarchy is mounted, and which of its directories is.
type cgroupMount struct{ dir, root string }

// cgroupMounts finds the mounts of cgroup hierarchies, by controller; that of version 2 has
// the empty name.
func cgroupMounts() (map[string]cgroupMount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]cgroupMount{}
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() { // proc_pid_mountinfo(5)
		before, after, ok := strings.Cut(s.Text(), " - ")
		if !ok {
			continue
		}
		where, what := strings.Fields(before), strings.Fields(after)
		if len(where) < 5 || len(what) < 3 {
			continue
		}
		m := cgroupMount{dir: where[4], root: where[3]}
		switch what[0] {
		case "cgroup2":
			out[""] = m
		case "cgroup":
			for _, option := range strings.Split(what[2], ",") {
				out[option] = m
			}
		}
	}
	return out, s.Err()
}
