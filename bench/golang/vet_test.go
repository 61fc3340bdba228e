package golang

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pinhole/tests/harness"
)

// vetted is the module that is vetted: one that this one needs anyway, and that needs no other.
const vetted = "github.com/klauspost/compress"

// BenchmarkGoVet is go vet of a module with an empty cache: the go command with compiler, assembler and vet, all
// built for the side that they run on, compiles what the module needs of the standard library, and the module.
func BenchmarkGoVet(b *testing.B) {
	pinhole := harness.Pinhole(b)
	goroot := answer(b, "go", "env", "GOROOT")
	module := answer(b, "go", "list", "-m", "-f", "{{.Dir}}", vetted)
	if module == "" {
		b.Skipf("%s is not in the module cache", vetted)
	}
	var roots, modules [2]string
	for i, goCommand := range [][]string{{"go"}, {pinhole, "go"}} {
		dir := b.TempDir()
		roots[i], modules[i] = filepath.Join(dir, "go"), filepath.Join(dir, "module")
		installation(b, goroot, roots[i], goCommand)
		harness.Must(b, "cp", "-r", module, modules[i])
		harness.Must(b, "chmod", "-R", "u+w", modules[i])
	}
	disk := filepath.Join(b.TempDir(), "disk.img")
	harness.Must(b, pinhole, "image", "create", "--size", "4G", disk)
	harness.Must(b, pinhole, "image", "mkdir", disk, "/tmp")
	harness.Must(b, pinhole, "image", "put", disk, roots[1], "/go")
	harness.Must(b, pinhole, "image", "put", disk, modules[1], "/module")
	environment := func(root, tmp string) []string {
		return []string{"GOROOT=" + root, "PATH=" + root + "/bin", "HOME=" + tmp, "TMPDIR=" + tmp, "GOCACHE=" + tmp + "/cache",
			"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOTOOLCHAIN=local", "GOPROXY=off", "GOWORK=off"}
	}
	vet := []string{"vet", "./..."}
	run := func(b *testing.B, cmd *exec.Cmd) {
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	b.Run("runtime=native", func(b *testing.B) {
		for range b.N {
			cmd := exec.Command(filepath.Join(roots[0], "bin", "go"), vet...)
			cmd.Dir, cmd.Env = modules[0], environment(roots[0], b.TempDir())
			run(b, cmd)
		}
	})
	b.Run("runtime=pinhole", func(b *testing.B) {
		for range b.N {
			line := []string{"run", "--image", disk, "--ephemeral", "--memory", "8G", "--cwd", "/module"}
			for _, e := range environment("/go", "/tmp") {
				line = append(line, "--env", e)
			}
			run(b, exec.Command(pinhole, append(append(line, "/go/bin/go"), vet...)...))
		}
	})
}

// installation makes a Go installation at root, from the one at goroot, whose programs are built by a go command.
func installation(b *testing.B, goroot, root string, goCommand []string) {
	tools := filepath.Join(root, "pkg", "tool", "linux_amd64")
	for _, dir := range []string{tools, filepath.Join(root, "bin")} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			b.Fatal(err)
		}
	}
	for _, name := range []string{"src", "VERSION", "go.env", "pkg/include"} {
		harness.Must(b, "cp", "-r", filepath.Join(goroot, name), filepath.Join(root, name))
	}
	for program, dir := range map[string]string{"go": filepath.Join(root, "bin"), "compile": tools, "asm": tools, "vet": tools} {
		args := append(goCommand[1:len(goCommand):len(goCommand)], "build", "-o", filepath.Join(dir, program), "cmd/"+program)
		cmd := exec.Command(goCommand[0], args...)
		cmd.Dir = filepath.Join(goroot, "src")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%q: %v\n%s", cmd.Args, err, out)
		}
	}
}

// answer is what a command prints on a line.
func answer(b *testing.B, name string, args ...string) string {
	b.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		b.Fatalf("%s %v: %v", name, args, err)
	}
	return strings.TrimSpace(string(out))
}
