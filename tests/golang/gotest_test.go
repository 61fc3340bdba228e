package golang

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/tests/harness"
)

const testedModule = `package m

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var word = flag.String("word", "", "")

func TestPass(t *testing.T) { t.Log("a line"); fmt.Println("printed") }

func TestFail(t *testing.T) {
	t.Run("sub", func(t *testing.T) { t.Errorf("%d", double(4)) })
	t.Run("good", func(t *testing.T) {})
}

func TestSkip(t *testing.T) { t.Skip("for a reason") }

func TestPlace(t *testing.T) {
	b, err := os.ReadFile("testdata/x")
	up, err2 := os.ReadFile(filepath.Join("..", "go.mod"))
	wd, err3 := os.Getwd()
	if string(b) != "data\n" || !strings.HasPrefix(string(up), "module") || err != nil || err2 != nil || err3 != nil {
		t.Error(b, up, err, err2, err3)
	}
	if err := os.WriteFile("left-behind", nil, 0o666); err != nil {
		t.Error(err)
	}
	t.Log(wd, *word, os.Getenv("GIVEN"), os.Getenv("SECRET"), len(os.TempDir()) > 0)
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil || f.Close() != nil {
		t.Error(err)
	}
}

func TestCrash(t *testing.T) {
	if *word == "crash" {
		var p *int
		*p = 1
	}
	if *word == "exit" {
		os.Exit(5)
	}
	if *word == "hang" {
		select {}
	}
}

func BenchmarkDouble(b *testing.B) {
	for b.Loop() {
		double(1)
	}
}

func FuzzDouble(f *testing.F) {
	f.Add(1)
	f.Fuzz(func(t *testing.T, n int) { double(n) })
}

func Example() {
	fmt.Println(double(2))
	// Output: 4
}
`

var tested = map[string]string{
	"p/double.go":      "package m\n\nfunc double(n int) int {\n\tif n == 77 {\n\t\treturn 0\n\t}\n\treturn 2 * n\n}\n",
	"p/double_test.go": testedModule,
	"p/testdata/x":     "data\n",
	"none/none.go":     "package none\n",
	"bad/bad_test.go":  "package bad\n\nfunc f() { undefined() }\n",
}

// times are what differs between two runs of a test.
var times = regexp.MustCompile(`\d+\.\d+s\b|"(Time|Elapsed)":[^,}]*|0x[0-9a-f]+|go-build\d+|TestPlace\d+|goroutine \d+|in goroutine \d+`)

// TestGoTest: pinhole go test says what go test says, and ends as it does.
func TestGoTest(t *testing.T) {
	dir := module(t, tested)
	for _, args := range []string{
		"test ./p ./none",
		"test -v ./p",
		"test -v -run TestP ./p -args -word w",
		"test -json -run Pass|Skip ./p",
		"test ./bad",
		"test -run Crash ./p -word=crash",
		"test -run Crash ./p -word=exit",
		"test -run Crash -timeout 300ms ./p -word=hang",
		"test -run Nothing ./...",
		"test ./missing",
		"test -list . ./p",
		"test -run=x -fuzz=FuzzDouble -fuzztime=20x -parallel=1 ./p",
		"vet ./p",
		"list ./...",
	} {
		t.Run(args, func(t *testing.T) {
			want := harness.Exec(t, dir, "", "go", strings.Fields(args)...)
			os.Remove(filepath.Join(dir, "p", "left-behind"))
			got := pinholeGo(t, dir, strings.Fields(args)...)
			for _, s := range []*string{&want.Stdout, &want.Stderr, &got.Stdout, &got.Stderr} {
				*s = times.ReplaceAllString(*s, "X")
				if strings.Contains(args, "fuzz") {
					*s = regexp.MustCompile(`(?m)^fuzz: .*\n`).ReplaceAllString(*s, "")
				}
				// How deep in the runtime a crash is noticed differs between the two kinds of programs.
				*s = regexp.MustCompile(`(?m)\+X( fp=X sp=X pc=X)?$|\(X.*\)$|, X+`).ReplaceAllString(*s, "")
			}
			if strings.Contains(args, "hang") {
				for _, s := range []*string{&want.Stdout, &got.Stdout} {
					*s, _, _ = strings.Cut(*s, "\n\n")
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-go +pinhole go)\n%s", d)
			}
			if _, err := os.Stat(filepath.Join(dir, "p", "left-behind")); err == nil {
				t.Error("what a test has written has come out")
			}
		})
	}
}

// TestGoTestFiles: what go test is asked for comes out.
func TestGoTestFiles(t *testing.T) {
	dir := module(t, tested)
	r := pinholeGo(t, dir, "test", "-run", "Pass|Example", "-bench", ".", "-benchtime", "20x", "-coverprofile", "cover.out",
		"-memprofile", "mem.out", "-trace", "trace.out", "-o", "p.test", "./p")
	if r.Status != 0 {
		t.Fatalf("%d %s%s", r.Status, r.Stdout, r.Stderr)
	}
	for name, begin := range map[string]string{"cover.out": "mode: set\nexample.com/m/p/double.go:3.", "mem.out": "\x1f\x8b", "trace.out": "go 1.", "p.test": "\x7fELF"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.HasPrefix(b, []byte(begin)) {
			t.Errorf("%s: %v, %.40q", name, err, b)
		}
	}
	// A test program by itself is one like others.
	r = harness.Exec(t, dir, "", harness.Pinhole(t), "run", "./p.test", "-test.run", "Pass", "-test.v")
	if r.Status != 0 || !strings.Contains(r.Stdout, "--- PASS: TestPass") {
		t.Errorf("p.test: %d %s%s", r.Status, r.Stdout, r.Stderr)
	}
}

// TestGoTestHidden: a directory for temporary files, or a module, that is where a sandbox has a file system of its
// own.
func TestGoTestHidden(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "golang-")
	if err != nil {
		t.Skipf("no directory can be made in /dev/shm: %v", err)
	}
	defer os.RemoveAll(shm)
	dir := module(t, tested)
	t.Setenv("TMPDIR", shm)
	if r := pinholeGo(t, dir, "test", "-run", "Pass|Place", "-coverprofile", "cover.out", "./p"); r.Status != 0 {
		t.Errorf("%d %s%s", r.Status, r.Stdout, r.Stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "cover.out")); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command("cp", "-r", dir, filepath.Join(shm, "module")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r := pinholeGo(t, filepath.Join(shm, "module"), "test", "./p")
	if r.Status == 0 || !strings.Contains(r.Stdout, "file systems of its own in /dev and /proc") {
		t.Errorf("%d %s%s", r.Status, r.Stdout, r.Stderr)
	}
}

// TestGoTestFuzz: what makes a fuzz test fail is kept where the next run looks for it, and what was learnt is in the
// cache; nothing else that a test leaves there is.
func TestGoTestFuzz(t *testing.T) {
	dir := module(t, map[string]string{"f/f_test.go": `package f

import (
	"os"
	"testing"
)

func FuzzAdd(f *testing.F) {
	os.Symlink("/etc/passwd", "testdata/fuzz/link")
	os.WriteFile("testdata/fuzz/FuzzAdd/seed", []byte("go test fuzz v1\nstring(\"changed\")\n"), 0o666)
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1 && s[0] == '0' && s[1] == '1' {
			t.Fatal("found")
		}
	})
}
`, "f/testdata/fuzz/FuzzAdd/seed": "go test fuzz v1\nstring(\"seed\")\n"})
	t.Setenv("GOCACHE", fuzzCache(t))
	r := pinholeGo(t, dir, "test", "-run", "^$", "-fuzz", "FuzzAdd", "-fuzztime", "60s", "./f")
	m := regexp.MustCompile(`Failing input written to (testdata/fuzz/FuzzAdd/\S+)`).FindStringSubmatch(r.Stdout)
	if r.Status == 0 || m == nil {
		t.Fatalf("%d %s%s", r.Status, r.Stdout, r.Stderr)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "f", m[1])); err != nil || !strings.Contains(string(text), `string("01`) {
		t.Errorf("%v: %q", err, text)
	}
	if _, err := os.Lstat(filepath.Join(dir, "f/testdata/fuzz/link")); err == nil {
		t.Error("a symbolic link has come out")
	}
	if text, err := os.ReadFile(filepath.Join(dir, "f/testdata/fuzz/FuzzAdd/seed")); err != nil || !strings.Contains(string(text), "seed") {
		t.Errorf("the seed has been changed: %v, %q", err, text)
	}
	learnt, err := filepath.Glob(filepath.Join(os.Getenv("GOCACHE"), "fuzz/example.com/m/f/FuzzAdd/*"))
	if err != nil || len(learnt) == 0 {
		t.Errorf("nothing is in the cache: %v", err)
	}
	if r := pinholeGo(t, dir, "test", "-run", strings.TrimPrefix(m[1], "testdata/fuzz/"), "./f"); r.Status == 0 || !strings.Contains(r.Stdout, "found") {
		t.Errorf("%d %s%s", r.Status, r.Stdout, r.Stderr)
	}
}

// fuzzCache is a build cache with nothing in its folder fuzz, and the user's otherwise.
func fuzzCache(t *testing.T) string {
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	users, dir := strings.TrimSpace(string(out)), t.TempDir()
	entries, err := os.ReadDir(users)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "fuzz" {
			if err := os.Symlink(filepath.Join(users, e.Name()), filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}
