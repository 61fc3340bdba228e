package libc

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"pinhole/abi"
	"pinhole/tests/harness"
)

// failed matches a line of a trace that ends in an error.
var failed = regexp.MustCompile(`(?m)^\[\d+\] (?:linux:\w+ = )?(\w+)\(.*\) = -1 (E\w+) \(`)

// TestDocumentedErrors: of all the errors that calls return to the programs of the tests, none is missing from
// what the ABI's text says of its call.
func TestDocumentedErrors(t *testing.T) {
	documented := map[string]map[string]bool{}
	for nr := range uint64(abi.CallTop) {
		if c := abi.LookupCall(nr); c != nil {
			documented[c.Name] = map[string]bool{}
			for _, e := range c.Errors {
				documented[c.Name][e.String()] = true
			}
		}
	}
	src, err := filepath.Glob(filepath.Join("..", "conformance", "src", "*.c"))
	if err != nil {
		t.Fatal(err)
	}
	seen, told := 0, map[string]bool{}
	for _, s := range append(src, programs(t)...) {
		trace := filepath.Join(t.TempDir(), "trace")
		guest := harness.GuestCC(t, s)
		harness.Exec(t, t.TempDir(), "", harness.Pinhole(t), "run", "--trace="+trace, guest)
		lines, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range failed.FindAllSubmatch(lines, -1) {
			call, errno := string(m[1]), string(m[2])
			seen++
			if !documented[call][errno] && !told[call+errno] {
				told[call+errno] = true
				t.Errorf("%s: %s returns %s, which pinhole.abi does not say: %s", filepath.Base(s), call, errno, m[0])
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d errors seen: is the trace still written like that?", seen)
	}
}
