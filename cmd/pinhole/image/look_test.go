package image

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/cmd/pinhole/image/tarfile"
)

// loop mounts an image with the host's kernel, to be read, or skips the test.
func loop(t testing.TB, image string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting by loop device needs root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop,ro", image, dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

// TestLikeHost: df, du, find and export agree with the host's own programs on the mounted image.
func TestLikeHost(t *testing.T) {
	layout := container{}
	layout.index(layout.image("amd64", testLayers(t)...))
	src := filepath.Join(t.TempDir(), "src")
	fill(t, src)
	// Which of two names counts is by chance, so both are in one directory.
	os.Rename(filepath.Join(src, "a/hello-again"), filepath.Join(src, "hello-again"))
	own := create(t, createCmd{From: src, Size: 64 << 20})
	host := filepath.Join(t.TempDir(), "host.img")
	mkfs, err := findTool("mkfs.ext4")
	if err != nil {
		t.Skip(err)
	}
	output(t, mkfs, "-q", host, "200M")
	ok(t, importCommand(host, src))
	for name, image := range map[string]string{"own": own, "host": host, "container": imported(t, layout.dir(t))} {
		t.Run(name, func(t *testing.T) {
			mnt := loop(t, image)

			got := strings.Fields(strings.Split(ok(t, &dfCmd{Image: []string{image}, Bytes: true}), "\n")[1])
			want := strings.Fields(strings.Split(output(t, "df", "-B1", "--output=size,used,avail,pcent,iused,iavail", mnt), "\n")[1])
			// Linux keeps some for itself.
			var size, avail, kept int64
			fmt.Sscan(want[0], &size)
			fmt.Sscan(want[2], &avail)
			st, err := os.Stat(image)
			if err != nil {
				t.Fatal(err)
			}
			kept = min(st.Size()/4096/50, 4096) * 4096
			want[2] = fmt.Sprint(avail + kept)
			want[3] = got[3] // follows from it
			if d := cmp.Diff(want, got[:6]); d != "" {
				t.Errorf("df (-host +ours):\n%s", d)
			}

			for _, c := range []struct {
				args []string
				cmd  duCmd
			}{
				{[]string{"-k"}, duCmd{Depth: -1}},
				{[]string{"-ka"}, duCmd{Depth: -1, All: true}},
				{[]string{"-ks"}, duCmd{Depth: -1, Summary: true}},
				{[]string{"-kc", "-d1"}, duCmd{Depth: 1, Total: true}},
				{[]string{"-kA", "-s"}, duCmd{Depth: -1, Summary: true, Apparent: true}},
			} {
				if c.args[0] == "-kA" {
					c.args = []string{"-k", "--apparent-size", "-s"}
				}
				c.cmd.Image, c.cmd.Kib = image, true
				got := lines(strings.ReplaceAll(ok(t, &c.cmd), `\n`, "?"))
				text := strings.ReplaceAll(output(t, "du", append(c.args, mnt)...), mnt+"/", "/")
				text = strings.ReplaceAll(text, "\t"+mnt+"\n", "\t/\n")
				text = strings.ReplaceAll(text, "with\nnewline", "with?newline")
				want := lines(text)
				for i := range want { // of two names, either may count
					want[i] = strings.NewReplacer("/hello-again", "/hello", "/linked3", "/linked2").Replace(want[i])
				}
				for i := range got {
					got[i] = strings.NewReplacer("/hello-again", "/hello", "/linked3", "/linked2").Replace(got[i])
				}
				sort.Strings(want)
				sort.Strings(got)
				if c.args[0] == "-k" && len(c.args) > 2 {
					continue // what directories count for differs between versions of du
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("du %v (-host +ours):\n%s", c.args, d)
				}
			}

			for _, c := range []struct {
				args string
				cmd  findCmd
			}{
				{"", findCmd{}},
				{"-name ?[0-5]", findCmd{Name: []string{"?[0-5]"}}},
				{"-name [!a-h]*", findCmd{Name: []string{"[!a-h]*"}}},
				{"-iname HELLO*", findCmd{Iname: []string{"HELLO*"}}},
				{"-path */b/*", findCmd{Path: []string{"*/b/*"}}},
				{"-type f", findCmd{Type: "f"}},
				{"-type d,l", findCmd{Type: "dl"}},
				{"-type c,p", findCmd{Type: "cp"}},
				{"-size +4095c", findCmd{Size: "+4095"}},
				{"-size -3c", findCmd{Size: "-3"}},
				{"-size 3c", findCmd{Size: "3"}},
				{"-size +2097152c", findCmd{Size: "+2M"}},
				{"-perm 644", findCmd{Perm: "644"}},
				{"-perm -111", findCmd{Perm: "-111"}},
				{"-perm /7000", findCmd{Perm: "/7000"}},
				{"-user 0 -group 0", findCmd{User: "0", Group: "0"}},
				{"-group 42", findCmd{Group: "42"}},
				{"-links +1 -type f", findCmd{Links: "+1", Type: "f"}},
				{"-empty", findCmd{Empty: true}},
				{"-mtime +1000", findCmd{Mtime: "+1000"}},
				{"-newermt 2020-01-01", findCmd{Newer: "2020-01-01"}},
				{"-maxdepth 1", findCmd{MaxDepth: 1}},
				{"-mindepth 2 -maxdepth 3", findCmd{MinDepth: 2, MaxDepth: 3}},
			} {
				if c.cmd.MaxDepth == 0 {
					c.cmd.MaxDepth = -1
				}
				c.cmd.Image, c.cmd.Format = image, `%P|%f|%s|%b|%k|%m|%M|%u|%g|%n|%i|%d|%y|%T@|%l\0`
				got := strings.Split(ok(t, &c.cmd), "\x00")
				args := append([]string{mnt}, strings.Fields(c.args)...)
				args = append(args, "-printf", `%P|%f|%s|%b|%k|%m|%M|%U|%G|%n|%i|%d|%y|%T@|%l\0`)
				want := strings.Split(output(t, "find", args...), "\x00")
				sort.Strings(got)
				sort.Strings(want)
				for i := range want {
					want[i] = strings.Replace(want[i], "|"+filepath.Base(mnt)+"|", "|/|", 1) // the root's own name
					if f := strings.Split(want[i], "|"); len(f) > 13 {
						f[13] = f[13][:len(f[13])-1] // find has a digit more
						want[i] = strings.Join(f, "|")
					}
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("find %s (-host +ours):\n%s", c.args, d)
				}
			}

			if _, err := exec.LookPath("tar"); err != nil {
				t.Skip(err)
			}
			// The host's tar of the mount and our export are the same files.
			whole := filepath.Join(t.TempDir(), "host.tar")
			output(t, "tar", "--format=pax", "-S", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sort=name", "--exclude=./lost+found", "-cf", whole, "-C", mnt, ".")
			if d := cmp.Diff(entries(t, whole), entries(t, exportFile(t, image, "/"))); d != "" {
				t.Errorf("tar (-host +ours):\n%s", d)
			}
		})
	}
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }

// entries describes what is in an archive, by name.
func entries(t testing.TB, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := make(map[string]string)
	links := map[string]string{}
	for r := tarfile.NewReader(f); ; {
		h, err := r.Next()
		if h == nil {
			if err.Error() != "EOF" {
				t.Fatal(err)
			}
			return all
		}
		if h.Type == tarfile.Hardlink {
			links[h.Linkname] = h.Name
			all[h.Name] = "link to " + h.Linkname
			continue
		}
		all[h.Name] = fmt.Sprintf("%c %o %d:%d %d %v %s %d,%d %q %v", h.Type, h.Mode, h.UID, h.GID, h.Size, h.Mtime, h.Linkname, h.Major, h.Minor, h.Xattrs, h.Sparse)
	}
}

func TestLookErrors(t *testing.T) {
	image := small(t)
	text := save(t, "text", bytes.Repeat([]byte("text"), 10000))
	fails(t, &dfCmd{Image: []string{image, text}}, text, "not an ext4 image")
	fails(t, &duCmd{Image: image, Depth: -1, Path: []string{"/none"}}, "/none", "no such file")
	fails(t, &duCmd{Image: image, Depth: 2, Summary: true}, "one of them")
	fails(t, &findCmd{Image: image, Start: []string{"/none"}}, "/none", "no such file")
	for _, c := range []struct {
		cmd  findCmd
		want string
	}{
		{findCmd{Type: "fx"}, `"x"`}, {findCmd{Size: "+x"}, "--size"}, {findCmd{Size: "+-1"}, "--size"}, {findCmd{Links: "x"}, "not a number"},
		{findCmd{Mtime: "1.5"}, "--mtime"}, {findCmd{Newer: "/none"}, "--newer"}, {findCmd{Perm: "999"}, "--perm"}, {findCmd{Perm: "u+x"}, "--perm"},
		{findCmd{User: "nobody"}, "/etc/passwd"}, {findCmd{Name: []string{`x\`}}, "backslash"}, {findCmd{Name: []string{"[z-a]"}}, "pattern"},
		{findCmd{Format: "%q"}, "%q"}, {findCmd{Format: "%"}, "ends with"}, {findCmd{Format: `\y`}, `\y`}, {findCmd{Format: "%T"}, "%T"},
	} {
		c.cmd.Image = image
		fails(t, &c.cmd, c.want)
	}
}

func TestFindMore(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	cap := file("ping", "x")
	cap.Xattrs = map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	ok(t, importCommand(image, save(t, "a.tar", archive(t, cap, file("etc/passwd", "root:x:0:0::/:\nme:x:1000:1000::/:\n"), file("etc/group", "us:x:50:\n"), file("bad\nname", ""), file("bytes\xff", "")))))
	ok(t, &chownCmd{Image: image, Owner: "me:us", Path: []string{"/ping"}})
	one := func(c findCmd, want string) {
		t.Helper()
		c.Image, c.MaxDepth = image, -1
		if got := ok(t, &c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	one(findCmd{Xattr: []string{"security.*"}}, "/ping\n")
	one(findCmd{User: "me", Group: "us"}, "/ping\n")
	one(findCmd{Name: []string{"ping", "passwd"}}, "/etc/passwd\n/ping\n")
	one(findCmd{Name: []string{"bad*"}}, "/bad\\nname\n")
	one(findCmd{Name: []string{"bad*"}, Print0: true}, "/bad\nname\x00")
	one(findCmd{Name: []string{"bytes?"}}, "/bytes\\xff\n")
	one(findCmd{Name: []string{"ping"}, Format: `%h/%f\t%%\\\n`}, "//ping\t%\\\n")
	one(findCmd{Newer: "/etc/passwd", Type: "f"}, "")
	one(findCmd{Newer: time.Now().Add(time.Hour).Format("2006-01-02T15:04:05")}, "")
	if out := ok(t, &findCmd{Image: image, MaxDepth: -1, Name: []string{"ping"}, Long: true}); !strings.Contains(out, "-rw-r--r-- 1 1000 50 1 ") {
		t.Error(out)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*.go", "x.go", true}, {"*.go", "x.goo", false}, {"?", "ab", false}, {"?b", "ab", true}, {"[]a]", "]", true}, {"[!]a]", "]", false}, {"[^x]", "y", true},
		{"[a", "[a", true}, {`\*`, "*", true}, {`\*`, "x", false}, {"a.c", "abc", false}, {"[.]", ".", true}, {`[\]`, `\`, true}, {"(a|b)", "a", false}, {"(a|b)", "(a|b)", true}, {"", "", true}, {"[]", "[]", true},
	} {
		re, err := glob(c.pattern, false)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		if re.MatchString(c.name) != c.want {
			t.Errorf("%q of %q: %v", c.pattern, c.name, !c.want)
		}
	}
}

func TestMode(t *testing.T) {
	const dir = abi.S_IFDIR
	for _, c := range []struct {
		text string
		mode uint32
		want uint32
	}{
		{"755", 0o600, 0o755}, {"0", 0o7777, 0}, {"u+x", 0o644, 0o744}, {"go-r", 0o644, 0o600}, {"a=r", 0o777, 0o444}, {"+x", 0o644, 0o755}, {"u=rwx,go=rx", 0, 0o755},
		{"u+s", 0o755, 0o4755}, {"g+s", 0o755, 0o2755}, {"+t", 0o777, 0o1777}, {"a+X", 0o644, 0o644}, {"a+X", 0o744, 0o755}, {"a+X", dir | 0o600, 0o711}, {"g=u", 0o750, 0o770}, {"o=g", 0o750, 0o755},
		{"u+x-w", 0o644, 0o544}, {"g=rx", dir | 0o2777, 0o2757}, {"-x", 0o755, 0o644}, {"u-s", 0o6755, 0o2755},
	} {
		m, err := parseMode(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := m(c.mode) & 0o7777; got != c.want {
			t.Errorf("%s of %o: %o, want %o", c.text, c.mode, got, c.want)
		}
	}
	for _, bad := range []string{"", "8", "77777", "u", "z+x", "u+z", "u+gx", "u+x,", "rwx"} {
		if _, err := parseMode(bad); err == nil {
			t.Errorf("%q is a mode", bad)
		}
	}
}

func TestEdit(t *testing.T) {
	image := small(t)
	list := func(p string) string {
		t.Helper()
		return ok(t, &lsCmd{Image: image, Path: []string{p}})
	}
	ok(t, &mkdirCmd{Image: image, Mode: "750", Parents: true, Path: []string{"/new/deep/dir", "/new"}})
	ok(t, &mkdirCmd{Image: image, Mode: "u=rwx,go=", Path: []string{"new/two"}})
	if out := ok(t, &lsCmd{Image: image, Long: true, Path: []string{"/new/"}}); !strings.Contains(out, "drwx------ ") || !strings.Contains(out, "drwxr-xr-x ") {
		t.Error(out)
	}
	fails(t, &mkdirCmd{Image: image, Mode: "755", Path: []string{"/new"}}, "/new", "is there already")
	fails(t, &mkdirCmd{Image: image, Mode: "755", Path: []string{"/no/dir"}}, "no such file")
	fails(t, &mkdirCmd{Image: image, Mode: "755", Path: []string{"/hello/dir"}}, "not a directory")
	fails(t, &mkdirCmd{Image: image, Mode: "x", Path: []string{"/y"}}, "--mode")

	ok(t, &mvCmd{Image: image, Path: []string{"/a/empty", "/dangling", "/new/two"}})
	ok(t, &mvCmd{Image: image, Path: []string{"/new/two/empty", "/renamed"}})
	if got := list("/new/two"); got != "dangling\n" {
		t.Error(got)
	}
	fails(t, &mvCmd{Image: image, Path: []string{"/none", "/x"}}, "/none", "no such file")
	fails(t, &mvCmd{Image: image, Path: []string{"/new", "/new/two"}}, "into itself")
	fails(t, &mvCmd{Image: image, Path: []string{"/hello", "/renamed", "/sparse"}}, "/sparse", "not a directory")
	fails(t, &mvCmd{Image: image, Path: []string{"/hello", "/none/"}}, "not a directory")
	fails(t, &mvCmd{Image: image, NoReplace: true, Path: []string{"/hello", "/renamed"}}, "is there already")
	fails(t, &mvCmd{Image: image, Path: []string{"/hello"}}, "last")

	ok(t, &lnCmd{Image: image, Target: "/hello", Name: "/new"})
	ok(t, &lnCmd{Image: image, Target: "../any where", Name: "/sym", Symbolic: true})
	fails(t, &lnCmd{Image: image, Target: "/a", Name: "/dir-link"}, "--symbolic")
	fails(t, &lnCmd{Image: image, Target: "/none", Name: "/x"}, "no such file")
	fails(t, &lnCmd{Image: image, Target: "/hello", Name: "/sym"}, "is there already", "--force")
	ok(t, &lnCmd{Image: image, Target: "/hello", Name: "/sym", Force: true})
	ok(t, &lnCmd{Image: image, Target: "/hello", Name: "/hello", Force: true}) // itself
	if out := ok(t, &lsCmd{Image: image, Long: true, Path: []string{"/hello"}}); !strings.Contains(out, "-rw-r--r-- 4 ") {
		t.Error(out)
	}

	ok(t, &chmodCmd{Image: image, Mode: "go=", Recursive: true, Path: []string{"/a"}})
	if out := ok(t, &findCmd{Image: image, MaxDepth: -1, Start: []string{"/a"}, Perm: "/77", Type: "fd"}); out != "" {
		t.Errorf("chmod -R left %s", out)
	}
	ok(t, &chownCmd{Image: image, Owner: "7:8", Recursive: true, Path: []string{"/a/b"}})
	ok(t, &chownCmd{Image: image, Owner: ":9", Path: []string{"/a/b"}})
	if out := ok(t, &lsCmd{Image: image, Long: true, Path: []string{"/a"}}); !strings.Contains(out, " 7 9 ") {
		t.Error(out)
	}
	fails(t, &chownCmd{Image: image, Owner: ":", Path: []string{"/a"}}, "not an owner")
	fails(t, &chownCmd{Image: image, Owner: "me", Path: []string{"/a"}}, "no /etc/passwd")
	fails(t, &chmodCmd{Image: image, Mode: "755", Path: []string{"/none"}}, "no such file")
	fails(t, &chmodCmd{Image: image, Mode: "u", Path: []string{"/a"}}, "not a mode")

	ok(t, &xattrCmd{Image: image, Set: []string{"user.text=a=b", "user.bytes=0x0001ff"}, Path: []string{"/a"}})
	ok(t, &xattrCmd{Image: image, Remove: []string{"user.none-yet"}, Path: []string{}})
	if out := ok(t, &xattrCmd{Image: image, Path: []string{"/a"}}); out != "/a: user.bytes=0x0001ff\n/a: user.text=a=b\n" {
		t.Errorf("%q", out)
	}
	ok(t, &xattrCmd{Image: image, Remove: []string{"user.text"}, Path: []string{"/a"}})
	fails(t, &xattrCmd{Image: image, Remove: []string{"user.text"}, Path: []string{"/a"}}, "no attribute user.text")
	fails(t, &xattrCmd{Image: image, Set: []string{"x"}, Path: []string{"/a"}}, "NAME=VALUE")
	fails(t, &xattrCmd{Image: image, Set: []string{"x=y"}, Path: []string{"/a"}}, "user.")
	fails(t, &xattrCmd{Image: image, Set: []string{"user.x=0x1"}, Path: []string{"/a"}}, "hexadecimal")
	fails(t, &xattrCmd{Image: image, Set: []string{"user.x=" + strings.Repeat("x", 70000)}, Path: []string{"/a"}}, "user.x")
	fails(t, &xattrCmd{Image: image, Path: []string{"/none"}}, "no such file")

	ok(t, &rmCmd{Image: image, Path: []string{"/hello", "/renamed"}})
	fails(t, &rmCmd{Image: image, Path: []string{"/hello"}}, "no such file")
	ok(t, &rmCmd{Image: image, Force: true, Path: []string{"/hello"}})
	fails(t, &rmCmd{Image: image, Path: []string{"/a"}}, "is a directory", "--recursive")
	ok(t, &rmCmd{Image: image, Recursive: true, Path: []string{"/a", "/new", "/private"}})
	fails(t, &rmCmd{Image: image, Recursive: true, Path: []string{"/"}}, "root")
	if got := list("/"); got != "longlink\nlost+found\nname with\\nnewline\nsparse\nsym\n" {
		t.Errorf("%q", got)
	}
	e2fsck(t, image)
}
