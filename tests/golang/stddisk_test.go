package golang

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"pinhole/shim/golang/guest"
	"pinhole/tests/harness"
)

var stdDisk = flag.String("std.disk", "", "disk with a Go installation to run the tests on, made if it is not there; instead of one that is made each time")

// hostPrograms are those of the host that tests start. In a sandbox they are what they are: made to call the
// host, by instructions that trap.
var hostPrograms = []string{"sh", "dash", "bash", "cat", "echo", "sleep", "true", "false", "ls", "pwd", "date", "hostname", "id",
	"whoami", "env", "nohup", "printf", "test", "stat", "uname", "kill", "mkdir", "rm", "cp", "zstd"}

// surroundings are flags of pinhole go that put programs of the host on the disk.
func surroundings(t *testing.T) []string {
	flags := []string{"-I", filepath.Join(harness.GOROOT(t), "src", "unicode")}
	libraries := map[string]bool{}
	for _, name := range hostPrograms {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		for _, dir := range []string{"/bin", "/usr/bin"} {
			if p := filepath.Join(dir, name); harness.Exec(t, "", "", "test", "-e", p).Status == 0 {
				flags = append(flags, "-I", p)
			}
		}
		out, _ := exec.Command("ldd", path).Output()
		for _, lib := range regexp.MustCompile(`/\S+\.so\S*`).FindAllString(string(out), -1) {
			libraries[lib] = true
		}
	}
	for _, lib := range slices.Sorted(maps.Keys(libraries)) {
		flags = append(flags, "-I", lib)
	}
	return flags
}

// goDisk makes a disk with the Go installation of the host, at its place, and returns flags of pinhole go that
// run tests on it. The go command there and its tools are built by pinhole go, and build for the sandbox what
// tests have them build, as pinhole go does: with the overlay, and a small program for -toolexec.
func goDisk(t *testing.T, pinhole string) []string {
	root := harness.GOROOT(t)
	disk := *stdDisk
	if disk == "" {
		disk = filepath.Join(t.TempDir(), "disk.img")
	}
	var err error
	if disk, err = filepath.Abs(disk); err != nil {
		t.Fatal(err)
	}
	// GOFLAGS is empty in the tests' environment, so that the installation's own holds.
	flags := []string{"-i", disk, "-e", "PATH=" + filepath.Join(root, "bin") + ":/usr/bin:/bin"}
	if _, err := os.Stat(disk); err == nil {
		return flags
	}
	tree := t.TempDir()
	at := func(path string) string { return filepath.Join(tree, path) }
	install := at(root)
	for _, dir := range []string{at("/usr/bin"), at("/tmp")} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	goCommand := []string{pinhole, "go"}
	harness.GoInstallation(t, install, goCommand, "go", "gofmt", "asm", "compile", "cover", "link", "vet")
	for _, name := range []string{"test", "api", "doc", "misc"} {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			harness.Must(t, "cp", "-a", filepath.Join(root, name), install)
		}
	}
	harness.Go(t, "", goCommand, "build", "-o", at("/usr/bin/pinhole-toolexec"), "./src/toolexec")
	// The overlay has the place inside that it is made at, since its list has paths.
	overlay, err := guest.Generate(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(at(filepath.Dir(overlay)), os.DirFS(filepath.Dir(overlay))); err != nil {
		t.Fatal(err)
	}
	env, err := os.OpenFile(filepath.Join(install, "go.env"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(env, "\nGOCACHE=/var/cache/go-build\nGOPROXY=off\nCGO_ENABLED=0\n"+
			"GOFLAGS=-overlay=%s -buildmode=pie -toolexec=/usr/bin/pinhole-toolexec\n", overlay)
		env.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	harness.Must(t, pinhole, "image", "create", "--force", "--size", "6G", "--from", tree, disk+".new")
	// What tests build needs little more than linking.
	std := exec.Command(pinhole, "run", "-m", "4G", "--image", disk+".new", "--cwd", filepath.Join(root, "src"), "--env", "HOME=/root",
		filepath.Join(root, "bin", "go"), "build", "std")
	if out, err := std.CombinedOutput(); err != nil {
		t.Fatalf("go build std in a sandbox: %v\n%s", err, out)
	}
	if err := os.Rename(disk+".new", disk); err != nil {
		t.Fatal(err)
	}
	return flags
}
