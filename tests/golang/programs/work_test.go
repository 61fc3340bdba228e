package programs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pinhole/tests/harness"
)

// bench is where a command works: a directory that it finds at the same path on both sides.
type bench struct {
	e         *entry
	dir       string   // what it works in, fresh for each run
	env       []string // its environment
	program   [2]string
	fresh     string // dir as it is at first
	image     string // disk of the sandbox, with a copy of fresh at dir
	workImage string // copy of it that is being worked on
}

// ended is how a run ended.
type ended struct {
	status         int
	stdout, stderr string
	files          map[string]string // what it left, by path: its kind and a sum of what is in it
	wall, cpu      float64
}

// work runs a command on files.
func (e *entry) work(t *testing.T) row {
	b := e.bench(t)
	r := row{name: e.name, what: e.what}
	var wall, cpu [2][]float64
	for n := range e.count() {
		var got [2]ended
		for _, s := range []side{native, inside} {
			got[s] = b.run(t, s, n == 0)
			wall[s], cpu[s] = append(wall[s], got[s].wall), append(cpu[s], got[s].cpu)
			if n == 0 {
				t.Logf("%v:\n%s", s, tail(got[s].stdout+got[s].stderr))
				r.outcome[s] = fmt.Sprintf("status %d, %s, %s", got[s].status, number(strings.Count(got[s].stdout+got[s].stderr, "\n"), "line"), number(len(got[s].files), "file"))
			}
		}
		r.differences = append(r.differences, e.differ(t, got)...)
	}
	for s := range r.wall {
		r.wall[s], r.cpu[s] = median(wall[s]), median(cpu[s])
	}
	return r
}

func number(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// differ reports what differs between the sides: nothing may.
func (e *entry) differ(t *testing.T, got [2]ended) (list []string) {
	n, i := got[native], got[inside]
	if e.varying != nil {
		for _, s := range []*string{&n.stdout, &n.stderr, &i.stdout, &i.stderr} {
			*s = e.varying.ReplaceAllString(*s, "")
		}
	}
	say := func(what, n, i string) {
		t.Errorf("%s differs: natively\n%s\ninside\n%s", what, tail(n), tail(i))
		list = append(list, what+": ?")
	}
	if n.status != i.status {
		say("exit status", fmt.Sprint(n.status, n.stderr), fmt.Sprint(i.status, i.stderr))
	}
	if n.stdout != i.stdout {
		say("standard output", n.stdout, i.stdout)
	}
	if n.stderr != i.stderr {
		say("standard error", n.stderr, i.stderr)
	}
	for name, sum := range n.files {
		if i.files[name] != sum {
			say(name, sum, i.files[name])
		}
	}
	for name, sum := range i.files {
		if n.files[name] == "" {
			say(name, "nothing", sum)
		}
	}
	return list
}

// bench builds the command for both sides and prepares what it works on.
func (e *entry) bench(t *testing.T) *bench {
	top := t.TempDir()
	b := &bench{e: e, dir: filepath.Join(top, "work"), fresh: filepath.Join(top, "fresh"), image: filepath.Join(top, "disk.img"), workImage: filepath.Join(top, "work.img")}
	b.build(t, top)
	if err := os.MkdirAll(filepath.Join(b.fresh, "home"), 0o777); err != nil {
		t.Fatal(err)
	}
	e.prepare(t, b.fresh)
	// The disk has the directory at its own path, the program, and perhaps Go.
	disk := filepath.Join(top, "disk")
	for _, dir := range []string{filepath.Dir(disk + b.dir), disk + "/bin", disk + "/tmp", disk + "/etc"} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "", nil, "cp", "-r", b.fresh, disk+b.dir)
	path := "/bin"
	if e.tools {
		path = filepath.Join(toolchain(t, disk), "bin") + ":/bin"
	}
	if b.program[inside] != "" {
		must(t, "", nil, "cp", b.program[inside], disk+"/bin/")
		b.program[inside] = "/bin/" + filepath.Base(b.program[inside])
	} else { // it is the go command
		root := harness.GOROOT(t)
		b.program = [2]string{filepath.Join(root, "bin", "go"), filepath.Join(root, "bin", "go")}
	}
	must(t, "", nil, harness.Pinhole(t), "image", "create", "--size", "8G", "--from", disk, b.image)
	os.RemoveAll(disk)
	b.env = []string{"PATH=" + path, "HOME=" + filepath.Join(b.dir, "home"), "TMPDIR=/tmp", "CGO_ENABLED=0", "GOFLAGS=", "GOTOOLCHAIN=local", "GOTELEMETRY=off", "GOPROXY=off"}
	return b
}

// build builds the command in a module that has nothing else, with the versions that its own module says.
func (b *bench) build(t *testing.T, top string) {
	e := b.e
	if e.module == "" {
		return
	}
	download(t, e.module, e.version)
	scratch := filepath.Join(top, "module")
	if err := os.Mkdir(scratch, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(scratch, "go.mod"), []byte("module scratch\n\ngo 1.25.0\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	get, command := []string{"go", "get", "-tool", e.command + "@" + e.version}, e.command
	if e.source != "" {
		must(t, "", nil, "cp", filepath.Join(harness.Root(), "tests", "golang", "programs", "testdata", e.source, "main.go"), scratch)
		get, command = []string{"go", "get", e.module + "@" + e.version}, "."
	}
	cmd := exec.Command(get[0], get[1:]...)
	cmd.Dir, cmd.Env = scratch, environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("what %s@%s needs cannot be had from the module proxy: %s", e.module, e.version, unavailable(out))
	}
	for _, s := range []side{native, inside} {
		b.program[s] = filepath.Join(top, s.String(), e.name)
		must(t, scratch, environment(), append(pinholeGo(t, s), "build", "-o", b.program[s], command)...)
	}
}

// run runs the command once, on files as they are at first. What it leaves is looked at if check is set.
func (b *bench) run(t *testing.T, s side, check bool) ended {
	t.Helper()
	var cmd *exec.Cmd
	if s == native {
		os.RemoveAll(b.dir)
		must(t, "", nil, "cp", "-r", b.fresh, b.dir)
		cmd = exec.Command(b.program[s], b.e.args...)
		cmd.Dir, cmd.Env = b.dir, b.env
		if b.e.tools {
			cmd.Env = append(slices.Clone(b.env), "PATH="+filepath.Join(harness.GOROOT(t), "bin")+":"+os.Getenv("PATH"))
		}
	} else {
		must(t, "", nil, "cp", "--reflink=auto", "--sparse=always", b.image, b.workImage)
		args := []string{"run", "-i", b.workImage, "-C", b.dir, "-m", max(b.e.memory, "4G")}
		for _, v := range b.env {
			args = append(args, "-e", v)
		}
		cmd = exec.Command(harness.Pinhole(t), append(append(args, b.program[s]), b.e.args...)...)
	}
	must(t, "", nil, "sync", "-f", b.fresh) // what was copied is not to be written during the run
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	r := ended{wall: since(start)}
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	r.status, r.cpu = cmd.ProcessState.ExitCode(), used(cmd.ProcessState)
	r.stdout, r.stderr = stdout.String(), harness.Messages(stderr.String())
	if check {
		dir := b.dir
		if s == inside {
			dir = filepath.Join(t.TempDir(), "left")
			os.Mkdir(dir, 0o777)
			for _, name := range b.e.results {
				must(t, "", nil, harness.Pinhole(t), "image", "get", b.workImage, filepath.Join(b.dir, name), dir)
			}
			harness.Fsck(t, b.workImage)
		}
		r.files = left(t, dir, b.e.results)
	}
	return r
}

// left describes files and directories, and what is in them.
func left(t *testing.T, dir string, names []string) map[string]string {
	files := map[string]string{}
	for _, name := range names {
		err := filepath.WalkDir(filepath.Join(dir, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			files[rel] = fmt.Sprintf("%v, %d bytes, %.16x", d.Type(), len(text), sha256.Sum256(text))
			return err
		})
		if err != nil {
			t.Errorf("%s is not left: %v", name, err)
		}
	}
	return files
}

// goTools is a Go installation whose programs are built for the sandbox.
var goTools struct {
	sync.Once
	dir   string
	built bool
}

// toolchain puts the installed Go below disk, at its own path, with its programs built for the sandbox, and
// returns that path.
func toolchain(t *testing.T, disk string) string {
	root := harness.GOROOT(t)
	goTools.Do(func() {
		dir, err := os.MkdirTemp("", "programs-go-")
		if err != nil {
			t.Fatal(err)
		}
		goTools.dir = dir
		harness.GoInstallation(t, filepath.Join(dir, "go"), pinholeGo(t, inside), "go", "asm", "compile", "link", "vet")
		goTools.built = true
	})
	if !goTools.built {
		t.Fatal("Go's programs could not be built")
	}
	if err := os.MkdirAll(filepath.Dir(disk+root), 0o777); err != nil {
		t.Fatal(err)
	}
	harness.Must(t, "cp", "-a", filepath.Join(goTools.dir, "go"), disk+root)
	return root
}

func TestMain(m *testing.M) {
	status := m.Run()
	if goTools.dir != "" {
		os.RemoveAll(goTools.dir)
	}
	os.Exit(status)
}
