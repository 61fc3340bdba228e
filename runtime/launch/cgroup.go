package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// cgroup is what the host's kernel bounds a sandbox by: one directory in each hierarchy that
// has a controller of interest. Both versions of cgroups are used as they are found
// (cgroups(7)).
//
// A process is made inside its cgroup and never moved there: moving one waits for all
// processors, 10 ms and more. In version 2 clone does it. In version 1 the thread that makes
// the process enters the cgroup, which for the calling thread alone is quick, and leaves it
// again; the process inherits it.
type cgroup struct {
	dirs []cgroupDir
}

// cgroupDir is a directory of a cgroup.
type cgroupDir struct {
	path   string
	parent cgroupParent
}

// cgroupParent is a directory below which the caller can have a cgroup.
type cgroupParent struct {
	dir string // that of the parent
	own string // that of the caller
	v2  bool
}

// cgroupLimit is one controller's file and the value to put there.
type cgroupLimit struct {
	controller string
	v1, v2     string // file names
	value      int64
}

// cgroupNumber tells the cgroups of one supervisor apart.
var cgroupNumber atomic.Uint32

// newCgroup makes a cgroup beside or below the caller's own, with limits. It returns an error
// that satisfies forbidden when the user may not have one here.
func newCgroup(limits []cgroupLimit) (*cgroup, error) {
	parents, err := cgroupParents()
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
			return nil, fmt.Errorf("no cgroup with the %s controller: %w", l.controller, unix.ENOENT)
		}
		dir, ok := made[parent.dir]
		if !ok {
			go sweep(parent.dir)
			dir = filepath.Join(parent.dir, name)
			if err := unix.Mkdir(dir, 0o755); err != nil {
				cg.remove()
				return nil, fmt.Errorf("make a cgroup: %w", err)
			}
			made[parent.dir] = dir
			cg.dirs = append(cg.dirs, cgroupDir{dir, parent})
		}
		file := l.v1
		if parent.v2 {
			file = l.v2
		}
		if err := put(filepath.Join(dir, file), strconv.FormatInt(l.value, 10)); err != nil {
			cg.remove()
			return nil, fmt.Errorf("limit a cgroup: %w", err)
		}
	}
	return cg, nil
}

// enter prepares for a process to be made by the calling thread, which is bound to its
// goroutine: it goes into the cgroup where that is how it is done. leave undoes it.
func (c *cgroup) enter() error {
	for _, d := range c.dirs {
		if !d.parent.v2 {
			if err := put(filepath.Join(d.path, "tasks"), "0"); err != nil {
				return fmt.Errorf("enter a cgroup: %w", err)
			}
		}
	}
	return nil
}

func (c *cgroup) leave() error {
	for _, d := range c.dirs {
		if !d.parent.v2 {
			if err := put(filepath.Join(d.parent.own, "tasks"), "0"); err != nil {
				return fmt.Errorf("leave a cgroup: %w", err)
			}
		}
	}
	return nil
}

// open opens the directory for clone to make the process in, or returns nil where it is not
// how it is done.
func (c *cgroup) open() (*os.File, error) {
	for _, d := range c.dirs {
		if d.parent.v2 {
			fd, err := unix.Open(d.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("open a cgroup: %w", err)
			}
			return os.NewFile(uintptr(fd), d.path), nil
		}
	}
	return nil, nil
}

// remove takes the cgroup away; its processes must have ended.
func (c *cgroup) remove() {
	for _, d := range c.dirs {
		unix.Rmdir(d.path)
	}
}

// put writes a text to a control file, which takes it whole or not at all.
func put(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

// sweep removes what supervisors that were killed have left behind.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, "pinhole-*-*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), "pinhole-"), "-")
		n, err := strconv.Atoi(pid)
		if err == nil && n > 0 && errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			unix.Rmdir(dir) // fails while a process is in it
		}
	}
}

// cgroupParents finds, for each controller, where a cgroup can be had.
func cgroupParents() (map[string]cgroupParent, error) {
	mounts, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	out := map[string]cgroupParent{}
	for line := range strings.Lines(string(text)) { // hierarchy:controllers:path
		part := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(part) != 3 {
			continue
		}
		for _, controller := range strings.Split(part[1], ",") { // of version 2: one empty name
			m, ok := mounts[controller]
			if !ok {
				continue
			}
			rel, ok := strings.CutPrefix(part[2], strings.TrimSuffix(m.root, "/"))
			if !ok {
				continue // a cgroup that is not below what is mounted here
			}
			own := filepath.Join(m.dir, rel)
			if part[0] != "0" {
				out[controller] = cgroupParent{own, own, false}
				continue
			}
			for c, p := range parents2(m.dir, own) {
				out[c] = p
			}
		}
	}
	return out, nil
}

// parents2 finds where controllers of version 2 are passed on to new cgroups: below the
// caller's own, or, since a cgroup with processes in it passes none on but at the root,
// beside it. A process can only be put there by who may take it out of where it comes from,
// which is decided at the directory above both.
func parents2(mount, own string) map[string]cgroupParent {
	out := map[string]cgroupParent{}
	for _, dir := range []string{filepath.Dir(own), own} {
		if dir != mount && !strings.HasPrefix(dir, mount+"/") || unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) != nil {
			continue
		}
		passed, _ := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		for _, c := range strings.Fields(string(passed)) {
			out[c] = cgroupParent{dir, own, true}
		}
	}
	return out
}

// cgroupMount says where a hierarchy is mounted, and which of its directories is.
type cgroupMount struct{ dir, root string }

// cgroupMounts finds the mounts of cgroup hierarchies, by controller; that of version 2 has
// the empty name.
func cgroupMounts() (map[string]cgroupMount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	out := map[string]cgroupMount{}
	for line := range strings.Lines(string(text)) { // proc_pid_mountinfo(5)
		before, after, ok := strings.Cut(line, " - cgroup")
		if !ok {
			continue
		}
		where, what := strings.Fields(before), strings.Fields("cgroup"+after)
		if len(where) < 5 || len(what) < 3 {
			continue
		}
		m := cgroupMount{dir: where[4], root: where[3]}
		if what[0] == "cgroup2" {
			out[""] = m
			continue
		}
		for _, option := range strings.Split(what[2], ",") {
			out[option] = m
		}
	}
	return out, nil
}
