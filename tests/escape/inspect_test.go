package escape

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"pinhole/runtime/launch"
)

// inspect looks at a sandbox process that waits: everything about it is as the lock and the
// second layer have left it.
func (s *sandbox) inspect() {
	s.t.Helper()
	s.problems = nil
	s.look()
	if comm(s.pid) != launch.Name || dead(s.pid) {
		s.t.Logf("the sandbox has ended while it was looked at: %v", s.problems)
		return
	}
	for _, p := range s.problems {
		s.t.Error(p)
	}
}

func (s *sandbox) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

func (s *sandbox) look() {
	t := s.t
	t.Helper()
	pid := s.process()
	proc := fmt.Sprintf("/proc/%d/", pid)
	if children := childrenOf(pid); len(children) > 0 {
		s.problem("the sandbox has made processes: %v", children)
	}
	if tracer := status(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))["TracerPid"]; tracer != "0" {
		s.problem("the supervisor is traced by %s", tracer)
	}
	tasks, err := os.ReadDir(proc + "task")
	if err != nil {
		t.Logf("the sandbox has ended meanwhile: %v", err)
		return
	}
	for _, task := range tasks {
		got := status(proc + "task/" + task.Name() + "/status")
		if len(got) == 0 {
			continue // the thread has ended meanwhile
		}
		for k, want := range map[string]string{"Seccomp": "2", "Seccomp_filters": "", "NoNewPrivs": "1", "CapPrm": "0000000000000000",
			"CapEff": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000", "TracerPid": "0", "VmLck": "0 kB"} {
			if want != "" && got[k] != want {
				s.problem("host thread %s: %s is %q, want %q", task.Name(), k, got[k], want)
			}
		}
	}
	if os.Geteuid() != 0 {
		t.Log("not root: descriptors, mappings and root directory are not looked at")
		return
	}
	s.inspectDescriptors(proc)
	s.inspectMappings(proc)
	// Deleted; or, where mounts cannot be had, the directory of its own descriptors.
	empty := regexp.MustCompile(` \(deleted\)$|/proc/[0-9]+/fdinfo$`)
	if root, err := os.Readlink(proc + "root"); err != nil || !empty.MatchString(root) {
		if !strings.Contains(s.stderr.String(), launch.EmptyRoot.String()) { // else it has said so
			s.problem("root directory: %q, %v", root, err)
		}
	}
}

// targets are what the sandbox's descriptors lead to; the ring is closed before the lock.
var targets = []string{
	`pipe:.*`, `pipe:.*`, `pipe:.*`, `pipe:.*`, `pipe:.*`, `anon_inode:\[eventfd\]`, `anon_inode:\[eventfd\]`,
	`/dev/urandom`, `.*/disk\.img`, `/memfd:pinhole-ram \(deleted\)`,
}

func (s *sandbox) inspectDescriptors(proc string) {
	s.t.Helper()
	entries, err := os.ReadDir(proc + "fd")
	if err != nil {
		s.problem("%v", err)
		return
	}
	got := map[int]string{}
	for _, e := range entries {
		n, _ := strconv.Atoi(e.Name())
		got[n], _ = os.Readlink(proc + "fd/" + e.Name())
	}
	for n, target := range got {
		if n >= len(targets) {
			s.problem("descriptor %d leads to %s, and should not be there", n, target)
		} else if !regexp.MustCompile("^" + targets[n] + "$").MatchString(target) {
			s.problem("descriptor %d leads to %s", n, target)
		}
	}
	if len(got) != len(targets) {
		s.problem("%d descriptors, want %d: %v", len(got), len(targets), got)
	}
}

// mapped are the files that may be mapped.
var mapped = regexp.MustCompile(`^(|.*/disk\.img|/memfd:pinhole-(ram|ring|image|kernel) \(deleted\)|.*/pinhole-kernel|\[(heap|stack|vdso|vvar|vvar_vclock|vsyscall)\]|\[anon:.*\])$`)

func (s *sandbox) inspectMappings(proc string) {
	s.t.Helper()
	text, err := os.ReadFile(proc + "smaps")
	if err != nil {
		s.problem("%v", err)
		return
	}
	mapping := ""
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"): // start-end mode offset device inode path
			mapping = strings.TrimSpace(line)
			name := strings.Join(f[5:], " ")
			if !mapped.MatchString(name) {
				s.problem("has mapped %s", mapping)
			}
			if strings.HasSuffix(name, "disk.img") && f[1][1] == 'w' && f[1][3] == 's' {
				s.problem("can write to the image: %s", mapping)
			}
		case f[0] == "VmFlags:":
			for _, flag := range []string{"lo", "ht", "gd", "io", "pf", "sf"} {
				// locked, huge page, grows down, I/O, page frames, synchronous
				if slices.Contains(f[1:], flag) && !strings.Contains(mapping, "[v") && !strings.Contains(mapping, "[stack]") {
					s.problem("has a mapping with flag %s: %s", flag, mapping)
				}
			}
		}
	}
}

// memoryHas tells whether text stands anywhere in the sandbox process's memory.
func (s *sandbox) memoryHas(text string) bool {
	s.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", s.process())
	maps, err := os.ReadFile(proc + "maps")
	if err != nil {
		s.fatal("%v", err)
	}
	mem, err := os.Open(proc + "mem")
	if err != nil {
		s.fatal("%v", err)
	}
	defer mem.Close()
	pagemap, err := os.Open(proc + "pagemap")
	if err != nil {
		s.fatal("%v", err)
	}
	defer pagemap.Close()
	found := false
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || mode[0] != 'r' || strings.Contains(line, "[v") {
			continue
		}
		found = found || search(mem, pagemap, from, to, []byte(text))
	}
	return found
}

// search looks through the pages of a mapping that are there.
func search(mem, pagemap *os.File, from, to uint64, text []byte) bool {
	const chunk = 4096 * 512
	entries := make([]byte, 8*512)
	for at := from; at < to; at += chunk {
		n := min(chunk, to-at)
		e := entries[:n/4096*8]
		if _, err := pagemap.ReadAt(e, int64(at/4096*8)); err != nil {
			continue
		}
		present := false
		for i := 7; i < len(e); i += 8 {
			present = present || e[i]&0xc0 != 0 // bit 63 present, 62 swapped; proc_pid_pagemap(5)
		}
		if !present {
			continue
		}
		buf := make([]byte, n)
		got, err := mem.ReadAt(buf, int64(at))
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EIO) {
			continue
		}
		if bytes.Contains(buf[:got], text) {
			return true
		}
	}
	return false
}
