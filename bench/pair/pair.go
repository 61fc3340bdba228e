// Package pair measures a C program natively and in Pinhole, in turn, in one run.
//
// Each case is a benchmark with the sub-benchmarks runtime=native and runtime=pinhole, so
// that benchstat -col /runtime puts them side by side. The programs time themselves (see
// bench.h): neither start-up nor the test framework counts.
package pair

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pinhole/tests/harness"
)

// Programs is one C source built for both sides, with an image for the guest.
type Programs struct {
	native, guest, pinhole, image, dir string
}

// Build builds src natively and with 'pinhole cc', or skips the benchmark and says why.
func Build(b *testing.B, src string) *Programs {
	b.Helper()
	return Built(b, harness.GuestCC(b, src), harness.NativeCC(b, src))
}

// Built takes programs that are built already. The image is of the host's folder for temporary
// files, where the native side works, too.
func Built(b *testing.B, guest, native string) *Programs {
	b.Helper()
	p := &Programs{pinhole: harness.Pinhole(b), native: native, guest: guest, dir: b.TempDir()}
	p.image = filepath.Join(b.TempDir(), "disk.img")
	harness.Must(b, p.pinhole, "image", "create", "--size", "2G", p.image)
	harness.Must(b, p.pinhole, "image", "put", p.image, p.guest, "/app")
	return p
}

// Run runs a program with arguments to its end, which has to be a good one.
type Run func(b *testing.B, args ...string) harness.Result

// Sides runs a benchmark on both sides, as runtime=native and runtime=pinhole.
func (p *Programs) Sides(b *testing.B, do func(b *testing.B, run Run)) {
	b.Run("runtime=native", func(b *testing.B) { do(b, p.Native) })
	b.Run("runtime=pinhole", func(b *testing.B) { do(b, p.Guest) })
}

// Native runs the program on the host. It is a Run.
func (p *Programs) Native(b *testing.B, args ...string) harness.Result {
	b.Helper()
	return ok(b, harness.Exec(b, p.dir, "", p.native, args...))
}

// Guest runs it in a sandbox. It is a Run.
func (p *Programs) Guest(b *testing.B, args ...string) harness.Result {
	b.Helper()
	return ok(b, harness.Exec(b, "", "", p.pinhole, append([]string{"run", "--image", p.image, "/app"}, args...)...))
}

func ok(b *testing.B, r harness.Result) harness.Result {
	b.Helper()
	if r.Status != 0 {
		b.Fatalf("exit status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
	return r
}

// Cases builds src and runs every case that the program lists.
func Cases(b *testing.B, src string) { Build(b, src).Cases(b) }

// Cases runs every case that the program lists.
func (p *Programs) Cases(b *testing.B) {
	for _, c := range strings.Fields(p.Native(b).Stdout) {
		b.Run(c, func(b *testing.B) {
			p.Sides(b, func(b *testing.B, run Run) {
				sum := 0.0
				for range b.N {
					f := strings.Fields(run(b, c).Stdout)
					if len(f) != 2 {
						b.Fatalf("case %s printed %q", c, f)
					}
					ns, err := strconv.ParseFloat(f[1], 64)
					if err != nil {
						b.Fatal(err)
					}
					sum += ns
				}
				b.ReportMetric(sum/float64(b.N), "ns/op")
			})
		})
	}
}

// Throwaway runs the guest program without an image of its own.
func (p *Programs) Throwaway(b *testing.B, args ...string) harness.Result {
	b.Helper()
	return ok(b, harness.Exec(b, "", "", p.pinhole, append([]string{"run", p.guest}, args...)...))
}

// NativePath is the native program, for runs under another sandbox.
func (p *Programs) NativePath() string { return p.native }

// GuestCommand is the guest program on its image, not yet started.
func (p *Programs) GuestCommand(args ...string) *exec.Cmd {
	return exec.Command(p.pinhole, append([]string{"run", "--image", p.image, "/app"}, args...)...)
}
