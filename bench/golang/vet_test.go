package golang

import (
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
	module := strings.TrimSpace(harness.Must(b, "go", "list", "-m", "-f", "{{.Dir}}", vetted))
	if module == "" {
		b.Skipf("%s is not in the module cache", vetted)
	}
	var roots, modules [2]string
	for i, goCommand := range [][]string{{"go"}, {pinhole, "go"}} {
		dir := b.TempDir()
		roots[i], modules[i] = filepath.Join(dir, "go"), filepath.Join(dir, "module")
		harness.GoInstallation(b, roots[i], goCommand, "go", "compile", "asm", "vet")
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
