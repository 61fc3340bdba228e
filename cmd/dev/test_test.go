package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSummary reads what go test -json says of a passing, a failing, a skipping and a
// crashing test, and of a package that does not build.
func TestSummary(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	events := `
{"Action":"start","Package":"pinhole/a"}
{"Action":"run","Package":"pinhole/a","Test":"TestGood"}
{"Action":"output","Package":"pinhole/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"pass","Package":"pinhole/a","Test":"TestGood","Elapsed":0}
{"Action":"output","Package":"pinhole/a","Test":"TestBad","Output":"    a_test.go:7: wrong\n"}
{"Action":"fail","Package":"pinhole/a","Test":"TestBad","Elapsed":0}
{"Action":"output","Package":"pinhole/a","Test":"TestLater","Output":"=== RUN   TestLater\n"}
{"Action":"output","Package":"pinhole/a","Test":"TestLater","Output":"    a_test.go:9: needs root: run it as root\n"}
{"Action":"output","Package":"pinhole/a","Test":"TestLater","Output":"--- SKIP: TestLater (0.00s)\n"}
{"Action":"skip","Package":"pinhole/a","Test":"TestLater","Elapsed":0}
{"Action":"output","Package":"pinhole/a","Output":"FAIL\n"}
{"Action":"fail","Package":"pinhole/a","Elapsed":0.1}
{"Action":"run","Package":"pinhole/b","Test":"TestCrash"}
{"Action":"output","Package":"pinhole/b","Test":"TestCrash","Output":"panic: no\n"}
{"Action":"fail","Package":"pinhole/b","Elapsed":0.1}
{"Action":"output","Package":"pinhole/c","Output":"FAIL\tpinhole/c [build failed]\n"}
{"Action":"fail","Package":"pinhole/c","Elapsed":0}
{"Action":"skip","Package":"pinhole/d","Elapsed":0}
`
	stdout := os.Stdout
	os.Stdout = null
	s := newSummary()
	s.read(strings.NewReader(strings.TrimSpace(events)), newUI(null))
	os.Stdout = stdout
	var out bytes.Buffer
	s.print(&out)
	want := `
skipped:
  a TestLater: needs root: run it as root

1 passed, 3 failed, 1 skipped
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestPresent(t *testing.T) {
	for file, want := range map[string]bool{"sh": true, "/etc": true, "no-such-program": false, "/no/such/file": false} {
		if present(file) != want {
			t.Errorf("%s: %v", file, !want)
		}
	}
}
