package check

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pinhole/blockdev/filedev"
	"pinhole/tests/harness"
)

// Images from which the damaged ones are made: options of mkfs.ext4.
var corpusImages = []struct {
	name, size string
	opts       []string
	unclean    bool
}{
	{"ext4-1k", "24M", []string{"-b", "1024", "-O", "orphan_file", "-J", "size=1"}, false},
	{"ext4-4k", "32M", []string{"-b", "4096"}, false},
	{"ext4-2k-flex4", "40M", []string{"-b", "2048", "-G", "4", "-g", "4096", "-O", "metadata_csum_seed"}, false},
	{"ext4-32bit", "24M", []string{"-b", "1024", "-O", "^64bit,^resize_inode", "-J", "size=1"}, false},
	{"ext4-uninit", "24M", []string{"-b", "1024", "-O", "^metadata_csum,uninit_bg", "-J", "size=1"}, false},
	{"ext4-metabg", "24M", []string{"-b", "1024", "-O", "^resize_inode,meta_bg", "-J", "size=1"}, false},
	{"ext3", "24M", []string{"-t", "ext3", "-b", "1024", "-J", "size=1"}, false},
	{"ext2", "20M", []string{"-t", "ext2", "-b", "4096", "-I", "128"}, false},
	{"unclean", "32M", []string{"-b", "1024", "-J", "size=1"}, true},
}

// corpusImage makes an image with some of everything, without help of the host's file systems.
func corpusImage(t testing.TB, name, size string, opts []string, unclean bool) string {
	t.Helper()
	dir := tree(t)
	// A hash tree of two levels, where blocks are small.
	for i := range 900 {
		p := filepath.Join(dir, "big", fmt.Sprintf("%04d-%s", i, strings.Repeat("long", 45)))
		if i == 0 {
			if err := os.Mkdir(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// An extent tree of two levels.
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(500) {
		if _, err := f.WriteAt([]byte("data"), i*8192); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	path := newImage(t, size, append([]string{"-d", dir}, opts...)...)
	script := strings.Join([]string{
		"mknod chr c 1 3", "mknod blk b 8 1", "mknod fifo p",
		"ea_set small user.one first-value", "ea_set small trusted.two " + strings.Repeat("v", 300),
		"ea_set large user.big " + strings.Repeat("w", 600),
		"ea_set a user.dir on-a-directory",
		"rm many/file-7-" + strings.Repeat("n", 7), "rm many/file-100-" + strings.Repeat("n", 40),
		"fallocate large 2000 2010",
	}, "\n") + "\n"
	cmds := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(cmds, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "debugfs", "-w", "-f", cmds, path)
	// -D makes hash trees. It ends with 1, for it changed something.
	var exit *exec.ExitError
	if out, err := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-fyD", path).CombinedOutput(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
		t.Fatalf("e2fsck -fyD: %v\n%s", err, out)
	}
	if unclean {
		dirty(t, path)
	}
	return path
}

// dirty writes a transaction to an image's journal that changes nothing: copies of blocks as they are.
func dirty(t testing.TB, path string) {
	t.Helper()
	m := openMap(t, path)
	var content []byte
	var list []string
	for _, b := range []uint64{m.groups[0].BlockBitmap, m.groups[0].InodeTable, m.groups[0].InodeTable + 1, m.dirBlock(t, "big", 3)} {
		list = append(list, strconv.FormatUint(b, 10))
		content = append(content, m.block(b)...)
	}
	blocks := filepath.Join(t.TempDir(), "blocks")
	if err := os.WriteFile(blocks, content, 0o600); err != nil {
		t.Fatal(err)
	}
	cmds := filepath.Join(t.TempDir(), "journal")
	script := "jo\njw -b " + strings.Join(list, ",") + " " + blocks + "\njw -r 900,901\njc\n"
	if err := os.WriteFile(cmds, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "debugfs", "-w", "-f", cmds, path)
}

// finding is what one checker says.
type finding struct {
	bad  bool
	text string
}

var (
	quietLine = regexp.MustCompile(`^(e2fsck 1\.|Pass \d|Warning: skipping journal recovery|.*: \d+/\d+ files \(|$|IGNORED\.)`)
	inodeIn   = regexp.MustCompile(`(?i)inode #?(\d+)`)
)

// runE2fsck is e2fsck -fn.
func runE2fsck(t testing.TB, path string, args ...string) finding {
	cmd := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), append(args, path)...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	bad := err != nil
	for line := range strings.Lines(string(out)) {
		bad = bad || !quietLine.MatchString(strings.TrimSpace(line))
	}
	return finding{bad, string(out)}
}

// runOurs is the check.
func runOurs(t testing.TB, path string, o Options) finding {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := filedev.New(f)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(d, o)
	if err != nil {
		return finding{true, err.Error()}
	}
	res := finding{bad: !r.Clean()}
	for _, p := range r.Problems {
		// e2fsck says this, too, although it is no damage.
		res.bad = res.bad || p.Code == ExtentLoose
		res.text += fmt.Sprintf("%v %s: %s\n", p.Severity, p.Code, p)
	}
	return res
}

// names tells whether a finding is about an inode.
func (f finding) names(ino uint32) bool {
	for _, m := range inodeIn.FindAllStringSubmatch(f.text, -1) {
		if m[1] == strconv.FormatUint(uint64(ino), 10) {
			return true
		}
	}
	return false
}

// TestCorpus damages images field by field, and compares what e2fsck finds with what the check
// finds. The short form takes a sample. PINHOLE_CORPUS is how many of each image, PINHOLE_SEED makes other
// values, and PINHOLE_CASE is a regular expression for the cases that are to be run.
func TestCorpus(t *testing.T) {
	harness.Tool(t, "e2fsck", "e2fsprogs")
	per := 60
	if os.Getenv("PINHOLE_LONG") != "" {
		per = 1500
	}
	if s := os.Getenv("PINHOLE_CORPUS"); s != "" {
		per, _ = strconv.Atoi(s)
	}
	seed := uint64(4)
	if s := os.Getenv("PINHOLE_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("PINHOLE_SEED=%d", seed)
	var mu sync.Mutex
	counts := make(map[string]*tally)
	t.Run("images", func(t *testing.T) {
		for i, im := range corpusImages {
			t.Run(im.name, func(t *testing.T) {
				t.Parallel()
				path := corpusImage(t, im.name, im.size, im.opts, im.unclean)
				if f := runE2fsck(t, path, "-fn"); f.bad && !im.unclean {
					t.Fatalf("the undamaged image is damaged: %s", f.text)
				}
				if f := runOurs(t, path, Options{}); f.bad && !im.unclean {
					t.Fatalf("the undamaged image: %s", f.text)
				}
				cases := openMap(t, path).cases(rand.New(rand.NewPCG(uint64(i), seed)))
				r := rand.New(rand.NewPCG(uint64(i), seed+1))
				r.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
				if only := os.Getenv("PINHOLE_CASE"); only != "" {
					match := regexp.MustCompile(only)
					cases = slices.DeleteFunc(cases, func(c damage) bool { return !match.MatchString(c.String()) })
				}
				if len(cases) > per {
					cases = spread(cases, per)
				}
				for _, c := range cases {
					c.run(t, path, im.unclean, func(kind string) {
						mu.Lock()
						defer mu.Unlock()
						if counts[c.class] == nil {
							counts[c.class] = new(tally)
						}
						counts[c.class].add(kind)
					})
				}
			})
		}
	})
	var total tally
	classes := make([]string, 0, len(counts))
	for class := range counts {
		classes = append(classes, class)
	}
	slices.Sort(classes)
	t.Logf("%-22s %6s %6s %9s %10s %12s", "what was damaged", "both", "none", "only ours", "only fsck", "unexplained")
	for _, class := range append(classes, "total") {
		n := counts[class]
		if class == "total" {
			n = &total
		} else {
			total.both += n.both
			total.none += n.none
			total.ours += n.ours
			total.theirs += n.theirs
			total.unexplained += n.unexplained
		}
		t.Logf("%-22s %6d %6d %9d %10d %12d", class, n.both, n.none, n.ours, n.theirs, n.unexplained)
	}
	if total.both == 0 {
		t.Error("nothing was found")
	}
}

// spread takes n cases, of each class about as many.
func spread(cases []damage, n int) []damage {
	by := make(map[string][]damage)
	var classes []string
	for _, c := range cases {
		if by[c.class] == nil {
			classes = append(classes, c.class)
		}
		by[c.class] = append(by[c.class], c)
	}
	slices.Sort(classes)
	var out []damage
	for i := 0; len(out) < n; i++ {
		for _, class := range classes {
			if i < len(by[class]) {
				out = append(out, by[class][i])
			}
		}
	}
	return out
}

type tally struct{ both, none, ours, theirs, unexplained int }

func (n *tally) add(kind string) {
	switch kind {
	case "both":
		n.both++
	case "none":
		n.none++
	case "ours":
		n.ours++
	case "theirs":
		n.theirs++
	default:
		n.unexplained++
	}
}

// run damages the image, asks both, and mends it.
func (c damage) run(t *testing.T, path string, unclean bool, count func(kind string)) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var old [][]byte
	for _, p := range c.patches {
		was := make([]byte, len(p.data))
		if _, err := f.ReadAt(was, p.off); err != nil {
			t.Fatal(err)
		}
		old = append(old, was)
		if _, err := f.WriteAt(p.data, p.off); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for i, p := range slices.Backward(c.patches) {
			if _, err := f.WriteAt(old[i], p.off); err != nil {
				t.Fatal(err)
			}
		}
	}()
	theirs := runE2fsck(t, path, "-fn")
	ours := runOurs(t, path, Options{})
	switch {
	case theirs.bad && ours.bad:
		if c.ino != 0 && theirs.names(c.ino) && !ours.names(c.ino) && c.sameObject(theirs, ours) == "" {
			count("unexplained")
			t.Errorf("%s: e2fsck names inode %d, the check does not:\n%s---\n%s", c, c.ino, theirs.text, ours.text)
			return
		}
		count("both")
	case !theirs.bad && !ours.bad:
		count("none")
	case ours.bad:
		if reason(onlyOurs, c, ours.text) != "" {
			count("ours")
			return
		}
		count("unexplained")
		t.Errorf("%s: only the check finds something:\n%s", c, ours.text)
	default:
		if reason(onlyTheirs, c, theirs.text) != "" {
			count("theirs")
			return
		}
		count("unexplained")
		t.Errorf("%s: only e2fsck finds something:\n%s", c, theirs.text)
	}
}

// sameObject says why the check may name something else than e2fsck; "": it may not.
func (c damage) sameObject(theirs, ours finding) string {
	for _, stop := range []Code{SuperMagic, SuperChecksum, SuperValue, SuperSize, SuperFeatures} {
		if strings.Contains(ours.text, string(stop)) {
			return "the check ends there"
		}
	}
	return ""
}

// explanation is a reason why only one of both finds something.
type explanation struct {
	class *regexp.Regexp // of the case: class and field
	text  *regexp.Regexp // of what is said
	why   string
}

func reason(list []explanation, c damage, text string) string {
	for _, d := range list {
		if d.class.MatchString(c.class+" "+c.field) && d.text.MatchString(text) {
			return d.why
		}
	}
	return ""
}

var onlyOurs = []explanation{
	{regexp.MustCompile("^(feature|super feature)"), regexp.MustCompile("^features that this check does not know"), "refused by name: the file system does not mount it either"},
	{regexp.MustCompile("^resize inode"), regexp.MustCompile("^(note .*\n)*error resize-inode.*\n$"), "e2fsck 1.47 looks at a quarter of the reserved blocks"},
	{regexp.MustCompile("^journal (first|maxlen|start)"), regexp.MustCompile("error journal-super"), "e2fsck does not look at it unless it replays; Linux refuses to mount"},
	{regexp.MustCompile("^journal errno"), regexp.MustCompile("error journal-super.*that error"), "e2fsck only looks at it if it is to be replayed, or not to be"},
	{regexp.MustCompile("^inode size_"), regexp.MustCompile("error journal-inode.*hole"), "e2fsck compares the low half of the journal's size, with a sign"},
	{regexp.MustCompile("^inode ([ug]id|file_acl)_hi"), regexp.MustCompile("error inode-reserved: inode 1: "), "e2fsck looks at the low halves of fields of the list of bad blocks"},
	{regexp.MustCompile("^block map.*"), regexp.MustCompile("^(note .*\n)*error block-metadata: inode 1, [^\n]*\n$"), "e2fsck lets bad blocks in inode tables pass"},
	{regexp.MustCompile("^inode flags"), regexp.MustCompile("^(note .*\n)*error extent-header: inode 1: [^\n]*\n$"), "e2fsck takes a list of bad blocks of zeros for an empty extent tree"},
	{regexp.MustCompile("^super journal_dev"), regexp.MustCompile("error journal-inode"), "Linux refuses to mount a file system with two journals"},
	{regexp.MustCompile("^inode file_acl"), regexp.MustCompile("^(note .*\n)*error (block-range|xattr-block): inode ([13-9]|1[02]), [^\n]*\n$"), "e2fsck tells of wrong blocks of attributes when it comes to a name, and inodes of the file system itself have none"},
	{regexp.MustCompile("^block bitmap"), regexp.MustCompile("^(note .*\n)*(error bitmap-checksum.*\n)?error block-bitmap.*are in use, but free.*\n$"), "e2fsck sets the bits of metadata of groups without a bitmap itself"},
	{regexp.MustCompile("^extent node depth"), regexp.MustCompile("error extent-header"), "e2fsck believes the root; Linux refuses the node"},
	{regexp.MustCompile("^htree (hash|block)"), regexp.MustCompile("error htree-hash"), "e2fsck does not compare the hashes at the ends of nodes; the names cannot be found"},
}

var onlyTheirs = []explanation{
	{regexp.MustCompile("^super [mw]time"), regexp.MustCompile("by less than a day"), "a note of the check"},
}
