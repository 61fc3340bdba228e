package vfstest

import (
	"embed"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Script is a list of calls with what they must return, to be run on an empty tree.
//
// A line is a command, its arguments, and, behind "=>", the error that it must give; without
// that it must succeed. "" is the empty string, "x y" one argument; {abc*90} is abc ninety times.
// Modes are octal. Lines starting with # are comments.
//
//	needs FEATURE...                      the script is skipped without (see Options)
//	as UID[:GID[,GROUP...]]               change ids
//	umask MODE / chdir P / getcwd PATH
//	mkdir P MODE / rmdir P / unlink P
//	mknod P reg|fifo|sock|chr|blk MODE [RDEV]
//	symlink TARGET P / readlink P TARGET
//	link OLD NEW [follow]
//	rename OLD NEW [noreplace|exchange]
//	open P FLAGS [MODE]                   and close again
//	hold NAME P FLAGS [MODE] / drop NAME  and keep open
//	write P TEXT / append P TEXT / read P TEXT
//	fwrite H TEXT / fpwrite H OFF TEXT / fread H N TEXT / fpread H OFF N TEXT
//	fseek H OFF set|cur|end|data|hole RESULT
//	truncate P SIZE / ftruncate H SIZE / fallocate H MODE OFF N (MODE: 0 or keep|punch|zero)
//	access P rwx|f
//	chmod P MODE / fchmod H MODE / lchmod P MODE
//	chown P UID GID / lchown P UID GID / fchown H UID GID     (- keeps)
//	times P ATIME MTIME / ltimes P ATIME MTIME / ftimes H ATIME MTIME   (SEC[.NSEC], now, -)
//	stat P K=V... / lstat P K=V... / fstat H K=V...
//	    type, mode, nlink, uid, gid, size, rdev, atime, mtime
//	same P P / differ P P                 same node or not
//	touched P COMMAND...                  runs a command, which must change P's mtime and ctime
//	changed P COMMAND...                  ... its ctime, but not its mtime
//	untouched P COMMAND...                ... neither
//	ls P NAME...
//	setxattr P NAME VALUE [create|replace] / getxattr P NAME VALUE / listxattr P NAME... / rmxattr P NAME
//	sync / fsync H
//
// What [observers] lists tells what it finds behind the OK. {@SEED*N} is N bytes at random.
type Script struct {
	File string // and line of its title: "rename.txt:12"
	Name string
	Text string
	line int
}

//go:embed testdata/*.txt
var scripts embed.FS

// Scripts returns all scripts. In the files, "== NAME" starts one.
func Scripts() []Script {
	var list []Script
	files, err := scripts.ReadDir("testdata")
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		text, err := scripts.ReadFile("testdata/" + f.Name())
		if err != nil {
			panic(err)
		}
		base := strings.TrimSuffix(f.Name(), ".txt")
		first := len(list)
		for i, line := range strings.SplitAfter(string(text), "\n") {
			if name, ok := strings.CutPrefix(line, "== "); ok {
				list = append(list, Script{File: f.Name(), Name: base + "/" + strings.TrimSpace(name), line: i + 1})
			} else if len(list) > first {
				list[len(list)-1].Text += line
			}
		}
	}
	return list
}

// Needs returns the features that the script needs.
func (s *Script) Needs() []string {
	for line := range strings.Lines(s.Text) {
		if rest, ok := strings.CutPrefix(line, "needs "); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}

// Run runs the script and returns the first thing that is not as it should be. It closes root.
func (s *Script) Run(root System) error {
	r := newRun(root)
	defer r.close()
	n := s.line
	for line := range strings.Lines(s.Text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || strings.HasPrefix(line, "needs ") {
			continue
		}
		if err := r.line(line); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", s.File, n, line, err)
		}
	}
	return nil
}

// run is a script, or a sequence, on its way in one system.
type run struct {
	sys  System
	held map[string]File
	// clock: the times that the system's clock gives are part of what is compared.
	clock bool
	// data and blocks are what the last "holes" has found.
	data   []Range
	blocks int64
}

func newRun(root System) *run { return &run{sys: root, held: make(map[string]File)} }

func (r *run) close() {
	for f := range maps.Values(r.held) {
		f.Close()
	}
	r.sys.Close()
}

// line runs one line. A script that makes no sense panics, in words caught here.
func (r *run) line(line string) (err error) {
	text, expect, _ := strings.Cut(line, "=>")
	expect = strings.TrimSpace(expect)
	if expect == "" {
		expect = "OK"
	}
	defer func() {
		if p := recover(); p != nil {
			if bad, ok := p.(badScript); ok {
				err = fmt.Errorf("bad script: %s", string(bad))
				return
			}
			panic(p)
		}
	}()
	a := split(text)
	if f := observers[a.at(0)]; f != nil {
		return differ(observed(f(r, a)), expect)
	}
	e, err := r.command(a)
	if err != nil {
		return err
	}
	if e.String() != expect {
		return fmt.Errorf("got %s, want %s", e.String(), expect)
	}
	return nil
}

// result runs a line without an expectation and returns what it gives.
func (r *run) result(text string) string {
	a := split(text)
	if f := observers[a.at(0)]; f != nil {
		return observed(f(r, a))
	}
	e, err := r.command(a)
	if err != nil {
		return err.Error()
	}
	return e.String()
}

type badScript string

// split takes a line apart into arguments.
func split(line string) args {
	var list args
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		var word string
		if line[0] == '"' {
			end := strings.IndexByte(line[1:], '"')
			if end < 0 {
				panic(badScript("open quote"))
			}
			word, line = line[1:1+end], line[2+end:]
		} else {
			word, line, _ = strings.Cut(line, " ")
		}
		list = append(list, expand(word))
	}
	return list
}

// expand replaces {text*N}.
func expand(word string) string {
	before, rest, ok := strings.Cut(word, "{")
	if !ok {
		return word
	}
	inner, after, _ := strings.Cut(rest, "}")
	text, count, ok := strings.Cut(inner, "*")
	n, err := strconv.Atoi(count)
	if !ok || err != nil {
		panic(badScript("want {text*N}: " + word))
	}
	if seed, ok := strings.CutPrefix(text, "@"); ok {
		v, err := strconv.ParseUint(seed, 10, 64)
		if err != nil {
			panic(badScript("want {@SEED*N}: " + word))
		}
		return before + noise(v, n) + expand(after)
	}
	return before + strings.Repeat(text, n) + expand(after)
}

// noise returns n bytes that depend on seed (xorshift64*).
func noise(seed uint64, n int) string {
	b := make([]byte, n+8)
	x := seed*2685821657736338717 + 1
	for i := 0; i < n; i += 8 {
		x ^= x >> 12
		x ^= x << 25
		x ^= x >> 27
		binary.LittleEndian.PutUint64(b[i:], x*2685821657736338717)
	}
	return unsafe.String(unsafe.SliceData(b), n)
}

// args are a command's words.
type args []string

func (a args) at(i int) string {
	if i >= len(a) {
		panic(badScript("too few arguments"))
	}
	return a[i]
}

func (a args) is(i int, word string) bool { return i < len(a) && a[i] == word }

func (a args) octal(i int) uint32 {
	v, err := strconv.ParseUint(a.at(i), 8, 32)
	if err != nil {
		panic(badScript(err.Error()))
	}
	return uint32(v)
}

func (a args) num(i int) int64 {
	v, err := strconv.ParseInt(a.at(i), 10, 64)
	if err != nil {
		panic(badScript(err.Error()))
	}
	return v
}

func (a args) word(i int, table map[string]int) int {
	v := 0
	for w := range strings.SplitSeq(a.at(i), "|") {
		bits, ok := table[w]
		if !ok {
			panic(badScript("unknown word " + w))
		}
		v |= bits
	}
	return v
}

var openFlags = map[string]int{
	"r": abi.O_RDONLY, "w": abi.O_WRONLY, "rw": abi.O_RDWR, "creat": abi.O_CREAT, "excl": abi.O_EXCL,
	"trunc": abi.O_TRUNC, "append": abi.O_APPEND, "dir": abi.O_DIRECTORY, "nofollow": abi.O_NOFOLLOW,
	"path": abi.O_PATH, "noatime": abi.O_NOATIME,
}

var nodeTypes = map[string]int{
	"reg": abi.S_IFREG, "dir": abi.S_IFDIR, "lnk": abi.S_IFLNK, "fifo": abi.S_IFIFO, "sock": abi.S_IFSOCK,
	"chr": abi.S_IFCHR, "blk": abi.S_IFBLK, "none": 0,
}

func (a args) open(s System, i int) (File, abi.Errno) {
	mode := uint32(0)
	if len(a) > i+2 {
		mode = a.octal(i + 2)
	}
	return s.Open(a.at(i), a.word(i+1, openFlags), mode)
}

func (a args) time(i int, set, now uint32) (vfs.Timespec, uint32) {
	switch a.at(i) {
	case "now":
		return vfs.Timespec{}, now
	case "-":
		return vfs.Timespec{}, 0
	}
	t, err := parseTime(a[i])
	if err != nil {
		panic(badScript(err.Error()))
	}
	return t, set
}

func parseTime(s string) (t vfs.Timespec, err error) {
	sec, nsec, _ := strings.Cut(s, ".")
	if t.Sec, err = strconv.ParseInt(sec, 10, 64); err == nil && nsec != "" {
		var n int64
		n, err = strconv.ParseInt(nsec, 10, 32)
		t.Nsec = int32(n)
	}
	return t, err
}

func formatTime(t vfs.Timespec) string {
	if t.Nsec == 0 {
		return strconv.FormatInt(t.Sec, 10)
	}
	return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec)
}

// checkAttr compares the attributes that the words from i on name.
func (a args) checkAttr(i int, got *vfs.Attr) error {
	for _, w := range a[min(i, len(a)):] {
		key, want, _ := strings.Cut(w, "=")
		var have string
		switch key {
		case "type":
			for name, bits := range nodeTypes {
				if got.Mode&abi.S_IFMT == uint32(bits) {
					have = name
				}
			}
		case "mode":
			have = strconv.FormatUint(uint64(got.Mode&0o7777), 8)
		case "nlink":
			have = strconv.Itoa(int(got.Nlink))
		case "uid":
			have = strconv.Itoa(int(got.UID))
		case "gid":
			have = strconv.Itoa(int(got.GID))
		case "size":
			have = strconv.FormatInt(got.Size, 10)
		case "rdev":
			have = strconv.FormatUint(got.Rdev, 10)
		case "blocks":
			have = strconv.FormatInt(got.Blocks, 10)
		case "atime":
			have = formatTime(got.Atime)
		case "mtime":
			have = formatTime(got.Mtime)
		default:
			panic(badScript("unknown attribute " + key))
		}
		if have != want {
			return fmt.Errorf("%s is %s, want %s", key, have, want)
		}
	}
	return nil
}

func differ(got, want string) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("got %q, want %q", clip(got), clip(want))
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

// DifferList compares lists whose order does not matter, and shows what is missing (-) and
// what is too much (+).
func DifferList(got, want []string) error {
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	var diff []string
	for i, j := 0, 0; i < len(got) || j < len(want); {
		switch {
		case j == len(want) || i < len(got) && got[i] < want[j]:
			diff = append(diff, "+"+got[i])
			i++
		case i == len(got) || got[i] > want[j]:
			diff = append(diff, "-"+want[j])
			j++
		default:
			i, j = i+1, j+1
		}
	}
	if diff == nil {
		return nil
	}
	if len(diff) > 30 {
		diff = append(diff[:30], "...")
	}
	return fmt.Errorf("lists differ (-want +got):\n%s", strings.Join(diff, "\n"))
}
