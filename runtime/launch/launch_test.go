package launch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The test binary plays three parts: the tests; the sandbox process, which a test starts
// with it as kernel; and a supervisor of another user or on a host with fewer rights.
func TestMain(m *testing.M) {
	if os.Args[0] == Name {
		sandbox()
	}
	if role := os.Getenv("PINHOLE_TEST_ROLE"); role != "" {
		supervisor(role)
	}
	os.Exit(m.Run())
}

// supervisor is a part of the test that runs as another user, or on a host that forbids
// namespaces: it starts a sandbox and hands on its report.
func supervisor(role string) {
	fail := func(err error) {
		json.NewEncoder(os.Stdout).Encode(report{Err: err.Error()})
		os.Exit(1)
	}
	if strings.Contains(role, "no-namespaces") {
		if err := forbidNamespaces(); err != nil {
			fail(err)
		}
	}
	if strings.Contains(role, "start-here") {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			fail(err)
		}
	}
	spec := Spec{}
	if strings.Contains(role, "require") {
		spec.Require = AllLayers &^ ControlGroup
	}
	s, err := begin(spec)
	if err != nil {
		fail(err)
	}
	if strings.Contains(role, "die") {
		fmt.Println(s.Pid)
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	r, err := s.enclose(0)
	if err != nil {
		fail(err)
	}
	json.NewEncoder(os.Stdout).Encode(r)
	s.end()
	os.Exit(0)
}

// forbidNamespaces does to this process what the default profile of container engines does:
// clone and unshare with a namespace flag fail with EPERM, clone3 with ENOSYS.
func forbidNamespaces() error {
	const flags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	prog := []unix.SockFilter{
		{Code: 0x20, K: 0}, // number
		{Code: 0x15, Jt: 5, K: unix.SYS_CLONE3},
		{Code: 0x15, Jt: 1, K: unix.SYS_CLONE},
		{Code: 0x15, Jf: 4, K: unix.SYS_UNSHARE},
		{Code: 0x20, K: 16}, // first argument
		{Code: 0x45, Jf: 2, K: flags},
		{Code: 0x06, K: 0x50000 | uint32(unix.EPERM)},
		{Code: 0x06, K: 0x50000 | uint32(unix.ENOSYS)},
		{Code: 0x06, K: 0x7fff0000},
	}
	return loadTestFilter(prog)
}

func readReport(t *testing.T, cmd *exec.Cmd) report {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, runErr := cmd.Output()
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v, %v: %q", runErr, err, out)
	}
	return r
}

func as(role string, uid uint32) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "PINHOLE_TEST_ROLE="+role, "HOST_SECRET=xyzzy")
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		cmd.Dir = "/"
	}
	return cmd
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("becomes other users: run it as root")
	}
}

// landlockHere tells whether this host has Landlock, for which there is no substitute.
func landlockHere() Layers {
	if v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); e != 0 || v < 1 {
		return 0
	}
	return Landlock
}

var refusedActs = []string{
	"open /", "open .", "open ..", "open /etc/passwd", "open /proc/self/status", "create", "mkdir", "reopen image", "chroot", "mount",
	"user namespace", "mount namespace", "setuid 0", "signal the supervisor", "trace the supervisor", "connect to TCP", "send UDP",
	"descriptor 11", "write to the image", "resize the memory",
}

// checkActs: everything was refused but what is in but.
func checkActs(t *testing.T, r report, but ...string) {
	t.Helper()
	if r.Err != "" {
		t.Fatal(r.Err)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(refusedActs)), slices.Sorted(maps.Keys(r.Acts))); diff != "" {
		t.Fatal(diff)
	}
	for name, result := range r.Acts {
		if result == "" && !slices.Contains(but, name) {
			t.Errorf("%s: succeeded", name)
		}
	}
	for name, result := range r.Sealed {
		if result == "" {
			t.Errorf("sealed: %s: succeeded", name)
		}
	}
	t.Logf("%v", r.Acts)
	t.Logf("sealed: %v", r.Sealed)
}

// TestAllLayers: on a host that forbids nothing every layer is in force, as seen by the
// process itself and from the outside.
func TestAllLayers(t *testing.T) {
	s, err := begin(Spec{Memory: 256 << 20, Tasks: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer s.end()
	missing := allNamespaces &^ s.Layers
	if missing != 0 {
		t.Skipf("this host forbids %v", missing)
	}
	r, err := s.enclose(0)
	if err != nil {
		t.Fatal(err)
	}
	checkActs(t, r)
	want := AllLayers &^ ResourceLimits &^ (Landlock &^ landlockHere())
	if os.Geteuid() != 0 {
		want = want&^ControlGroup | r.Layers&ControlGroup
	}
	if diff := cmp.Diff(want.Names(), r.Layers.Names()); diff != "" {
		t.Errorf("layers:\n%s", diff)
	}
	if diff := cmp.Diff([]string{Name}, r.Args); diff != "" {
		t.Error(diff)
	}
	if len(r.Environ) != 0 {
		t.Errorf("environment: %q", r.Environ)
	}
	if diff := cmp.Diff([]int{1, 0, nobody, nobody}, r.IDs[:4]); diff != "" {
		t.Errorf("pid, parent, uid, gid:\n%s", diff)
	}
	if os.Geteuid() == 0 && len(r.IDs) > 4 {
		t.Errorf("groups: %v", r.IDs[4:])
	}
	fromOutside(t, s)
}

func fromOutside(t *testing.T, s *session) {
	proc := fmt.Sprintf("/proc/%d/", s.Pid)
	tasks, err := os.ReadDir(proc + "task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		got := status(t, proc+"task/"+task.Name()+"/status")
		want := map[string]string{
			"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
			"NoNewPrivs": "1",
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("thread %s: %s is %q, want %q", task.Name(), k, got[k], v)
			}
		}
	}
	if name := status(t, proc+"status")["Name"]; name != Name {
		t.Errorf("named %q", name)
	}
	if os.Geteuid() != 0 {
		return // the process is not dumpable: the rest is root's to see
	}
	uid := status(t, proc+"status")["Uid"]
	if uid != "65534\t65534\t65534\t65534" {
		t.Errorf("user ids %q", uid)
	}
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		ours, err1 := os.Readlink("/proc/self/ns/" + ns)
		theirs, err2 := os.Readlink(proc + "ns/" + ns)
		if err1 != nil || err2 != nil || ours == theirs {
			t.Errorf("%s namespace: ours %q, theirs %q (%v, %v)", ns, ours, theirs, err1, err2)
		}
	}
	mounts, err := os.ReadFile(proc + "mountinfo")
	if err != nil || len(bytes.TrimSpace(mounts)) != 0 { // seen from its root: none at or below it
		t.Errorf("mounts: %v %s", err, mounts)
	}
	if root, err := os.Readlink(proc + "root"); err != nil || !strings.Contains(root, "(deleted)") {
		t.Errorf("root directory: %v %q", err, root)
	}
	if entries, err := os.ReadDir(proc + "root"); err != nil && !errors.Is(err, os.ErrNotExist) || len(entries) != 0 {
		t.Errorf("entries of the root directory: %v %v", err, entries)
	}
	env, err := os.ReadFile(proc + "environ")
	if err != nil || len(env) != 0 {
		t.Errorf("environment: %v %q", err, env)
	}
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, fd := range fds {
		n, _ := strconv.Atoi(fd.Name())
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, numbers); diff != "" {
		t.Errorf("descriptors:\n%s", diff)
	}
	limits, err := os.ReadFile(proc + "limits")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Max open files 0 0", "Max processes 0 0", "Max core file size 0 0", "Max locked memory 0 0", "Max file size 0 0",
		"Max cpu time 1000 1000", "Max data size 17179869184 17179869184", "Max address space 8796093022208 8796093022208"} {
		if !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), want) {
			t.Errorf("limits: no %q in:\n%s", want, limits)
		}
	}
	if s.group != nil {
		for _, d := range s.group.dirs {
			dir := d.path
			procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil || strings.TrimSpace(string(procs)) != strconv.Itoa(s.Pid) {
				t.Errorf("%s: %v %q", dir, err, procs)
			}
		}
	}
}

func status(t *testing.T, path string) map[string]string {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		k, v, _ := strings.Cut(s.Text(), ":")
		out[k] = strings.TrimSpace(v)
	}
	return out
}

// TestOrdinaryUser: the same without being root.
func TestOrdinaryUser(t *testing.T) {
	needRoot(t)
	r := readReport(t, as("start", 65534))
	if r.Err != "" {
		t.Fatal(r.Err)
	}
	if missing := allNamespaces &^ r.Layers; missing != 0 {
		t.Skipf("this host forbids ordinary users %v", missing)
	}
	checkActs(t, r)
	want := AllLayers &^ ResourceLimits &^ ControlGroup &^ (Landlock &^ landlockHere())
	if diff := cmp.Diff(want.Names(), r.Layers.Names()); diff != "" {
		t.Errorf("layers:\n%s", diff)
	}
}

// TestNoNamespaces: where a container's profile forbids namespaces the sandbox starts
// without, and says so; required, they are an error that names them.
func TestNoNamespaces(t *testing.T) {
	needRoot(t)
	t.Run("root", func(t *testing.T) {
		r := readReport(t, as("no-namespaces", 0))
		want := NoNewPrivileges | EmptyRoot | NoCapabilities | Undumpable | landlockHere()
		if diff := cmp.Diff(want.Names(), r.Layers.Names()); diff != "" {
			t.Errorf("layers:\n%s", diff)
		}
		checkActs(t, r, "send UDP")
		if r.IDs[2] != nobody || r.IDs[3] != nobody || len(r.IDs) != 4 {
			t.Errorf("pid, parent, uid, gid, groups: %v", r.IDs)
		}
	})
	t.Run("user", func(t *testing.T) {
		r := readReport(t, as("no-namespaces", 65534))
		want := NoNewPrivileges | NoCapabilities | Undumpable | landlockHere()
		if diff := cmp.Diff(want.Names(), r.Layers.Names()); diff != "" {
			t.Errorf("layers:\n%s", diff)
		}
		checkActs(t, r, "send UDP")
	})
	t.Run("required", func(t *testing.T) {
		r := readReport(t, as("no-namespaces require", 65534))
		for _, want := range []string{"does not allow", "user namespace", "net namespace"} {
			if !strings.Contains(r.Err, want) {
				t.Errorf("error %q does not contain %q", r.Err, want)
			}
		}
	})
}

// TestRootOfNothing: root in a user namespace that knows no other user and allows no further
// namespace of users, as in some containers. The sandbox starts as what there is.
func TestRootOfNothing(t *testing.T) {
	needRoot(t)
	cmd := as("start-here", 0)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}},
		Credential:  &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
	}
	out, err := cmd.Output()
	if errors.Is(err, unix.EPERM) {
		t.Skip("this host forbids user namespaces, which stand in for the container here")
	}
	var r report
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		t.Fatalf("%v, %v: %q", err, jerr, out)
	}
	if strings.Contains(r.Err, "max_user_namespaces") {
		t.Skip(r.Err)
	}
	checkActs(t, r, "setuid 0") // as what it is already, without any right
	if r.Layers&UserNamespace != 0 || r.Layers&(MountNamespace|EmptyRoot|NoCapabilities) != MountNamespace|EmptyRoot|NoCapabilities {
		t.Errorf("layers: %v", r.Layers)
	}
}

// TestWithout: as root, without a user namespace, the others are still made, and the process
// is no root.
func TestWithout(t *testing.T) {
	needRoot(t)
	s, err := begin(Spec{Without: UserNamespace})
	if err != nil {
		t.Fatal(err)
	}
	defer s.end()
	if s.Layers&UserNamespace != 0 || s.Layers&MountNamespace == 0 {
		t.Skipf("this host allows %v", s.Layers)
	}
	r, err := s.enclose(0)
	if err != nil {
		t.Fatal(err)
	}
	checkActs(t, r)
	if r.Layers&EmptyRoot == 0 {
		t.Error("no empty root")
	}
	if diff := cmp.Diff([]int{1, 0, nobody, nobody}, r.IDs); diff != "" {
		t.Errorf("pid, parent, uid, gid:\n%s", diff)
	}
}

// TestRequireInside: a layer that only Enclose can find missing is an error there.
func TestRequireInside(t *testing.T) {
	s, err := begin(Spec{Without: ControlGroup})
	if err != nil {
		t.Fatal(err)
	}
	defer s.end()
	r, err := s.enclose(ControlGroup)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Err, "control group") {
		t.Errorf("error %q", r.Err)
	}
}

// TestSupervisorKilled: the sandbox ends with its supervisor.
func TestSupervisorKilled(t *testing.T) {
	for _, role := range []string{"die", "no-namespaces die"} {
		out, _ := as(role, 0).Output()
		pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatalf("%q", out)
		}
		for i := 0; syscall.Kill(pid, 0) == nil && !zombie(pid); i++ {
			if i == 1000 {
				t.Fatalf("%s: process %d outlives its supervisor", role, pid)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// zombie tells whether a process has ended but nobody has waited for it.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.Contains(stat, []byte(") Z "))
}

// TestKillAndWait: an end by signal and an end by exit are told apart; the cgroup goes.
func TestKillAndWait(t *testing.T) {
	s, err := begin(Spec{Memory: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	state, err := s.Wait()
	if ws := state.Sys().(syscall.WaitStatus); err != nil || !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
		t.Errorf("killed: %v %v", state, err)
	}
	if err := s.Kill(); err != nil {
		t.Errorf("killing an ended process: %v", err)
	}
	if s.group != nil {
		for _, d := range s.group.dirs {
			dir := d.path
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("cgroup %s is still there: %v", dir, err)
			}
		}
	}

	if s, err = begin(Spec{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.enclose(0); err != nil {
		t.Fatal(err)
	}
	s.control.Close()
	if state, err := s.Wait(); err != nil || state.ExitCode() != 7 {
		t.Errorf("exited: %v %v", state, err)
	}
}

// TestProcessors: a sandbox runs on as many processors as it may, and its supervisor on all.
func TestProcessors(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ asked, want int }{{0, all.Count()}, {1, 1}, {all.Count(), all.Count()}, {all.Count() + 1, all.Count()}} {
		s, err := begin(Spec{CPUs: c.asked})
		if err != nil {
			t.Fatal(err)
		}
		var its, own unix.CPUSet
		if err := errors.Join(unix.SchedGetaffinity(s.Pid, &its), unix.SchedGetaffinity(os.Getpid(), &own)); err != nil {
			t.Error(err)
		}
		if its.Count() != c.want || own != all {
			t.Errorf("%d processors asked for: has %d instead of %d, the supervisor %d", c.asked, its.Count(), c.want, own.Count())
		}
		s.end()
	}
}
