package arch

import (
	"path"
	"strings"
	"testing"
)

// rule says what the packages of a folder may import besides the standard library and, where
// own is set, each other: folders of this module, and modules.
type rule struct {
	folder  string
	folders []string
	modules []string
}

const (
	xsys       = "golang.org/x/sys"
	multierror = "github.com/hashicorp/go-multierror"
	gocmp      = "github.com/google/go-cmp"
)

// rules has the folders of the tree, the more special ones first.
var rules = []rule{
	{folder: "abi", folders: []string{"abi"}},
	{folder: "blockdev", folders: []string{"blockdev"}},
	{folder: "fs", folders: []string{"fs", "blockdev", "abi"}},
	{folder: "net/netstack", folders: []string{"net", "abi"}, modules: []string{"gvisor.dev/gvisor"}},
	{folder: "net", folders: []string{"net", "abi"}},
	{folder: "emu", folders: []string{"emu", "abi", "fs/vfs", "net/socket"}},
	{folder: "runtime/seccomp/policy", folders: []string{"runtime/seccomp"},
		modules: []string{"github.com/elastic/go-seccomp-bpf", "golang.org/x/net/bpf"}},
	{folder: "runtime", folders: []string{"runtime", "emu", "net", "fs", "blockdev", "abi"}, modules: []string{xsys, multierror}},
	{folder: "shim", folders: []string{"shim", "abi"}, modules: []string{multierror}},
	// Unpacking what others have packed.
	{folder: "cmd/pinhole/image", folders: []string{"cmd/pinhole/image", "cmd/pinhole/units", "fs/vfs", "fs/ext4", "blockdev", "abi"},
		modules: []string{xsys, multierror, "golang.org/x/term", "github.com/alecthomas/kong", "github.com/klauspost/compress", "github.com/ulikunitz/xz",
			"github.com/vbauerster/mpb"}},
	// fs/vfs and abi for the commands that look into images: the contract of the file system they mount.
	{folder: "cmd", folders: []string{"cmd", "runtime", "fs/vfs", "fs/ext4", "blockdev", "abi", "shim"},
		modules: []string{xsys, multierror, "golang.org/x/term", "github.com/alecthomas/kong", "github.com/vbauerster/mpb"}},
	{folder: "tests", folders: []string{""}, modules: []string{xsys, gocmp, multierror, "golang.org/x/net/bpf"}},
	{folder: "bench", folders: []string{""}, modules: []string{xsys, gocmp, "golang.org/x/perf/benchfmt"}},
}

// testExtra is what test files may import beyond their package's rule.
var testExtra = rule{
	folders: []string{"abi", "blockdev", "fs", "net", "emu", "runtime", "tests/harness"},
	modules: []string{gocmp, xsys, "golang.org/x/net/bpf", "github.com/elastic/go-seccomp-bpf"},
}

func (r rule) allows(imported string) bool {
	if in, ok := strings.CutPrefix(imported, module+"/"); ok {
		for _, f := range r.folders {
			if f == "" || under(in, f) {
				return true
			}
		}
		return false
	}
	return underAny(imported, r.modules)
}

// standard tells whether an import path is the standard library's.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return first != module && !strings.Contains(first, ".")
}

func ruleFor(dir string) (rule, bool) {
	for _, r := range rules {
		if under(dir, r.folder) {
			return r, true
		}
	}
	return rule{}, false
}

func TestImports(t *testing.T) {
	for _, f := range goFiles(t) {
		r, ok := ruleFor(f.dir)
		if !ok {
			t.Errorf("%s: no rule for its folder", f.path)
			continue
		}
		for _, imported := range f.imports {
			switch {
			case imported == "C":
				t.Errorf("%s: imports C; all programs are built without cgo", f.path)
			case standard(imported), r.allows(imported), f.test && testExtra.allows(imported):
			default:
				t.Errorf("%s: must not import %s", f.path, imported)
			}
		}
	}
}

// TestRulesBite: the table refuses what the design forbids.
func TestRulesBite(t *testing.T) {
	for _, c := range []struct {
		dir, imported string
		want          bool
	}{
		{"emu", "pinhole/fs/vfs", true},
		{"emu", "pinhole/fs/ext4", false},
		{"emu", "pinhole/fs/vfs2", false},
		{"emu", "pinhole/runtime/host", false},
		{"emu/guest", "pinhole/abi", true},
		{"emu", "golang.org/x/sys/unix", false},
		{"abi", "pinhole/blockdev", false},
		{"blockdev", "pinhole/abi", false},
		{"fs/ext4", "pinhole/emu", false},
		{"net/socket", "gvisor.dev/gvisor/pkg/tcpip", false},
		{"net/netstack", "gvisor.dev/gvisor/pkg/tcpip", true},
		{"runtime/sandbox", "pinhole/fs/ext4", true},
		{"runtime/sandbox", "pinhole/shim/libc", false},
		{"runtime/sandbox", "github.com/elastic/go-seccomp-bpf", false},
		{"cmd/pinhole", "pinhole/shim/libc", true},
		{"cmd/pinhole", "pinhole/emu", false},
		{"shim/libc", "pinhole/runtime/host", false},
	} {
		r, ok := ruleFor(c.dir)
		if !ok || r.allows(c.imported) != c.want {
			t.Errorf("%s importing %s: %v, want %v", c.dir, c.imported, !c.want, c.want)
		}
	}
}

// hostCallers are the packages of the sandbox process that may call the host: the machine,
// behind the lock, and what prepares the process before it.
var hostCallers = []string{"runtime/host", "runtime/seccomp", "runtime/launch", "runtime/sandbox", "cmd/pinhole-kernel"}

// TestHostCalls: in what is linked into the sandbox process, only these packages reach for
// packages whose work is calling the host. All others get at it through emu.Machine and
// blockdev.Device, and can be read without asking which call the lock would trap.
func TestHostCalls(t *testing.T) {
	files := goFiles(t)
	byDir := map[string][]*file{}
	for _, f := range files {
		if !f.test && !f.ignored {
			byDir[f.dir] = append(byDir[f.dir], f)
		}
	}
	if byDir["cmd/pinhole-kernel"] == nil {
		t.Skip("there is no cmd/pinhole-kernel yet")
	}
	seen := map[string]bool{}
	todo := []string{"cmd/pinhole-kernel"}
	for len(todo) > 0 {
		dir := todo[0]
		todo = todo[1:]
		if seen[dir] {
			continue
		}
		seen[dir] = true
		for _, f := range byDir[dir] {
			for _, imported := range f.imports {
				if in, ok := strings.CutPrefix(imported, module+"/"); ok {
					todo = append(todo, in)
				}
				switch imported {
				case "os", "os/exec", "os/signal", "net", "syscall", "golang.org/x/sys/unix", "io/ioutil":
					if !underAny(dir, hostCallers) {
						t.Errorf("%s: is linked into the sandbox process and imports %s", f.path, imported)
					}
				}
			}
		}
	}
	walk(t, func(name string, content []byte) {
		dir := path.Dir(name)
		if !strings.HasSuffix(name, ".s") || !seen[dir] || underAny(dir, hostCallers) {
			return
		}
		for line := range strings.Lines(string(content)) {
			code, _, _ := strings.Cut(line, "//")
			if strings.TrimSpace(code) == "SYSCALL" {
				t.Errorf("%s: has a SYSCALL instruction", name)
			}
		}
	})
	for _, dir := range hostCallers {
		if len(byDir[dir]) == 0 {
			t.Logf("%s: not there yet", dir)
		}
	}
}
