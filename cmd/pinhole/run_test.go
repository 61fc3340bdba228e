package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// parse parses a command line of run as main does.
func parse(t *testing.T, args ...string) (runCmd, error) {
	t.Helper()
	var c cli
	p, err := newParser(&c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(append([]string{"run"}, args...))
	return c.Run, err
}

func TestRunArguments(t *testing.T) {
	base := runCmd{Memory: 1 << 30, Cwd: "/"}
	with := func(change func(*runCmd)) runCmd {
		c := base
		change(&c)
		return c
	}
	for _, c := range []struct {
		args string
		want runCmd
	}{
		{"./app", with(func(c *runCmd) { c.Command = []string{"./app"} })},
		{"./app -l --image x --help", with(func(c *runCmd) { c.Command = []string{"./app", "-l", "--image", "x", "--help"} })},
		{"-i disk.img /bin/app", with(func(c *runCmd) { c.Image = "disk.img"; c.Command = []string{"/bin/app"} })},
		{"--image=disk.img --memory 64M -e A=b,c -e D /bin/app", with(func(c *runCmd) {
			c.Image, c.Memory, c.Env, c.Command = "disk.img", 64<<20, []string{"A=b,c", "D"}, []string{"/bin/app"}
		})},
		{"--trace /bin/app x", with(func(c *runCmd) { c.Trace, c.Command = "-", []string{"/bin/app", "x"} })},
		{"--trace=out /bin/app x", with(func(c *runCmd) { c.Trace, c.Command = "out", []string{"/bin/app", "x"} })},
		{"--read-only --require-layers --cpus 1 --user 5:6 -C /tmp -- /bin/app --x", with(func(c *runCmd) {
			c.ReadOnly, c.RequireLayers, c.CPUs, c.User, c.Cwd, c.Command = true, true, 1, "5:6", "/tmp", []string{"/bin/app", "--x"}
		})},
	} {
		got, err := parse(t, strings.Fields(c.args)...)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.args, d)
		}
		if fast, ok := quick(strings.Fields(c.args)); ok {
			if d := cmp.Diff(c.want, fast); d != "" {
				t.Errorf("%s: the quick way (-want +got)\n%s", c.args, d)
			}
		} else {
			t.Errorf("%s: there is no quick way", c.args)
		}
	}
}

// Whatever the quick way takes, kong takes the same.
func FuzzQuick(f *testing.F) {
	for _, s := range []string{"./app", "-i x --memory 5M -e A=b /bin/app -l", "--trace=x --read-only app", "-C= -u 1 app", "--cpus 08 a", "-ix a", "--env= --env=-x -- b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args := strings.Split(s, " ")
		fast, ok := quick(args)
		if !ok || !utf8.ValidString(s) {
			return
		}
		slow, err := parse(t, args...)
		if err != nil {
			t.Fatalf("%q: taken the quick way, but: %v", args, err)
		}
		if d := cmp.Diff(slow, fast); d != "" {
			t.Fatalf("%q: (-kong +quick)\n%s", args, d)
		}
	})
}

func TestRunBadArguments(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", `expected "<command> ..."`},
		{"--memory 1X /bin/app", `"1X" is not a size`},
		{"--memory 1M /bin/app", "at least 16M"},
		{"--cwd tmp /bin/app", "not an absolute path"},
		{"--cpus -1 /bin/app", "--cpus"},
		{"--user root /bin/app", "not UID or UID:GID"},
		{"--user 4294967295 /bin/app", "not UID or UID:GID"},
		{"--env =x /bin/app", "names no variable"},
		{"--no-such-flag /bin/app", "unknown flag --no-such-flag"},
	} {
		cmd, err := parse(t, strings.Fields(c.args)...)
		if err == nil {
			_, err = cmd.config()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", c.args, err, c.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("FROM_HOST", "value")
	t.Setenv("SECRET", "not for the sandbox")
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, c := range []struct{ given, want []string }{
		{nil, []string{path, "HOME=/", "TERM=xterm"}},
		{[]string{"A=1", "HOME=/root", "A=2", "EMPTY="}, []string{path, "HOME=/root", "TERM=xterm", "A=2", "EMPTY="}},
		{[]string{"FROM_HOST", "NOT_SET_ANYWHERE"}, []string{path, "HOME=/", "TERM=xterm", "FROM_HOST=value"}},
	} {
		got, err := environment(c.given)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q: (-want +got)\n%s", c.given, d)
		}
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		text string
		want size
	}{
		{"0", 0}, {"65536", 65536}, {"1k", 1 << 10}, {"512M", 512 << 20}, {"2GiB", 2 << 30}, {"3gb", 3 << 30}, {"1T", 1 << 40}, {"7B", 7}, {" 8M ", 8 << 20},
	} {
		var got size
		if err := got.UnmarshalText([]byte(c.text)); err != nil || got != c.want {
			t.Errorf("%q: got %d, %v; want %d", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"", "M", "-1", "1.5G", "1X", "1MG", "1IB", "9223372036854775808", "8388608T", "1 M"} {
		var got size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: accepted as %d", text, got)
		}
	}
}

// What config asks of the machine makes sense at either end of the scale.
func TestCacheShare(t *testing.T) {
	for _, memory := range []size{leastMemory, 1 << 30, 1 << 40} {
		conf, err := (&runCmd{Memory: memory, Cwd: "/", Command: []string{"x"}}).config()
		if err != nil {
			t.Fatal(err)
		}
		if conf.CacheBytes < 4<<20 || conf.CacheBytes%4096 != 0 || conf.CacheBytes > int64(memory)/2 {
			t.Errorf("cache of %d bytes for %d of memory", conf.CacheBytes, memory)
		}
	}
}
