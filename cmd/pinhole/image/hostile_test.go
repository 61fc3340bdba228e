package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/blockdev/filedev"
	"pinhole/cmd/pinhole/image/oci"
	"pinhole/cmd/pinhole/image/tarfile"
	"pinhole/fs/ext4/check"
)

// checkOwn lets our own check look at an image.
func checkOwn(t testing.TB, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dev, err := filedev.New(f)
	if err != nil {
		t.Fatal(err)
	}
	r, err := check.Run(dev, check.Options{})
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestImportNames: whatever an archive calls its files, they end up in the image, where a program that runs
// there would find them.
func TestImportNames(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat(strings.Repeat("d", 200)+"/", 40) + "deep"
	a := archive(t,
		file("/absolute", "1"), file("../../../dotdot", "2"), file("./a/./b/../c", "3"), file("//double//slash", "4"),
		symlink("to-host", filepath.Dir(outside)), file("to-host/outside", "image"),
	)
	inside := imported(t, save(t, "a.tar", a))
	if got := ok(t, &catCmd{Image: inside, Path: []string{outside}}); got != "image" {
		t.Errorf("%s in the image is %q", outside, got)
	}

	a = archive(t,
		file("/absolute", "1"), file("../../../dotdot", "2"), file("./a/./b/../c", "3"), file("//double//slash", "4"),
		symlink("abs", "/a"), file("abs/through-absolute", "5"),
		symlink("up", "../../../../a"), file("up/through-dotdot", "6"),
		symlink("a/self", "."), file("a/self/self/through-self", "7"),
		symlink("target", outside), hardlink("hard-to-link", "target"),
		symlink("replace-me", outside), file("replace-me", "8"),
		dir("dir/"), file("dir/x", "x"), symlink("dir", "/a"), file("dir/through-replaced", "9"),
		file(long, "10"), file(long+"er", "11"), hardlink("from-deep", long), symlink("deep-link", "a/"+strings.Repeat("x", 3000)),
		file("a", "12"), // replaces the directory
		dir("a"), file("a/again", "13"),
	)
	image := imported(t, save(t, "a.tar", a))
	all := describe(t, image)
	want := "/a /a/again /abs /absolute /deep-link /dir /dotdot /double /double/slash /from-deep /hard-to-link /replace-me /target /up"
	got := names(all)
	var shorter []string
	for _, n := range strings.Fields(got) {
		if !strings.HasPrefix(n, "/ddd") {
			shorter = append(shorter, n)
		}
	}
	if g := strings.Join(shorter, " "); g != want {
		t.Errorf("has\n%s\nwant\n%s", g, want)
	}
	if !strings.Contains(all["/hard-to-link"], "-> "+outside) || !strings.Contains(all["/from-deep"], "links 2") {
		t.Errorf("%s\n%s", all["/hard-to-link"], all["/from-deep"])
	}
	if p, err := os.ReadFile(outside); err != nil || string(p) != "host" {
		t.Errorf("the host's file is %q, %v", p, err)
	}
	// In a directory of the image, its links lead there, too.
	c := importCommand(image, save(t, "b.tar", archive(t, symlink("abs", "/etc"), file("abs/x", "x"), symlink("up", "../.."), file("up/y", "y"))))
	c.To = "/srv/sub"
	ok(t, c)
	e2fsck(t, image)
	got = names(describe(t, image))
	if !strings.Contains(got, "/srv/sub/etc/x ") || !strings.Contains(got, "/srv/sub/y") || strings.Contains(got, " /etc") || strings.Contains(got, " /y") {
		t.Errorf("has %s", got)
	}
}

// TestImportHostile: each is refused with a line that says what is wrong, and leaves a clean image.
func TestImportHostile(t *testing.T) {
	long := strings.Repeat("n", 256)
	owner := file("f", "")
	owner.UID = 1 << 40
	device := entry{Header: tarfile.Header{Name: "dev", Type: tarfile.Char, Major: 5000}}
	unknown := entry{Header: tarfile.Header{Name: "what", Type: 'Q'}}
	attr := file("f", "")
	attr.Xattrs = map[string]string{"user.large": strings.Repeat("x", 100_000)}
	huge := entry{tarfile.Header{Name: "huge", Type: tarfile.Regular, Size: 1 << 62, Sparse: []tarfile.Segment{{Off: 1 << 61, Len: 1}}}, "x"}
	bomb := make([]entry, 40)
	for i := range bomb {
		bomb[i] = file(fmt.Sprint("bomb", i), strings.Repeat("\x00", 1<<20))
	}
	whole := archive(t, file("a", "x"), file("b", strings.Repeat("b", 100_000)))
	for _, c := range []struct {
		name  string
		p     []byte
		words []string
	}{
		{"text", bytes.Repeat([]byte("text"), 1000), []string{"is not a tar archive"}},
		{"empty name", archive(t, dir("x"), symlink("x", "")), []string{"leads nowhere"}},
		{"long name", archive(t, file("ok", ""), file(long, "")), []string{long, "too long"}},
		{"owner", archive(t, owner), []string{"owner 1099511627776"}},
		{"device", archive(t, device), []string{"device 5000"}},
		{"type", archive(t, unknown), []string{"what", "not known"}},
		{"attribute", archive(t, attr), []string{"f", "user.large"}},
		{"hard link to nothing", archive(t, hardlink("f", "none")), []string{"hard link to none", "not there"}},
		{"hard link to a directory", archive(t, dir("d"), hardlink("f", "d")), []string{"is a directory"}},
		{"root is a file", archive(t, file("..", "x")), []string{"root directory"}},
		{"root is a link", archive(t, symlink("..", "x")), []string{"root directory"}},
		{"through a file", archive(t, file("f", ""), file("f/x", "")), []string{"/f", "not a directory"}},
		{"link loop", archive(t, symlink("a", "b"), symlink("b", "a"), file("a/x", "")), []string{"/a"}},
		{"huge file", archive(t, huge), []string{"huge", "too large"}},
		{"bomb", gz(archive(t, bomb...)), []string{"full"}},
		{"cut", whole[:50_000], []string{"\"b\"", "cut short"}},
		{"cut, packed", gz(whole)[:100], []string{"gzip", "cut short"}},
		{"damaged, packed", append(gz(whole)[:150], "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"...), []string{"gzip"}},
		{"checksum", append(whole[:1024:1024], bytes.Repeat([]byte("x"), 10_000)...), []string{"checksum"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := create(t, createCmd{Size: 16 << 20})
			for _, pipe := range []bool{true, false} {
				source := save(t, "a.tar", c.p)
				if pipe {
					stdin(t, c.p)
					source = "-"
				}
				fails(t, importCommand(image, source), c.words...)
				e2fsck(t, image)
				checkOwn(t, image)
				// A new image is not made.
				target := filepath.Join(t.TempDir(), "new.img")
				cmd := importCommand(target, save(t, "a.tar", c.p))
				cmd.Size = 16 << 20
				if _, err := run(t, cmd); err == nil {
					t.Error("a new image can be made of it")
				}
				if _, err := os.Stat(target); err == nil {
					t.Error("a part of a new image is left")
				}
			}
			info := ok(t, &infoCmd{Image: image})
			if broken := c.name != "text" && c.name != "empty name"; broken && !strings.Contains(info, "not complete: the import of") {
				t.Errorf("info does not say that it is not complete:\n%s", info)
			}
		})
	}
}

// TestImportFull: a size that is not enough says so.
func TestImportFull(t *testing.T) {
	source := save(t, "a.tar", archive(t, file("big", strings.Repeat("x", 20<<20))))
	c := importCommand(filepath.Join(t.TempDir(), "x.img"), source)
	c.Size = 8 << 20
	fails(t, c, "--size 8.0M is not enough", "auto")
	image := create(t, createCmd{Size: 8 << 20})
	fails(t, importCommand(image, source), "the image is full", "pinhole image resize "+image)
	e2fsck(t, image)
	c = importCommand(image, source)
	c.Size = 1 << 30
	fails(t, c, "is there already", "resize")
	fails(t, importCommand(image, filepath.Join(t.TempDir(), "none")), "none: no such file")
	fails(t, importCommand("/nowhere/x.img", source), "cannot be made")
	c = importCommand(image, source)
	c.Platform = "linux"
	fails(t, c, "--platform")
	c = importCommand(image, source)
	c.Config = "/tmp/x"
	fails(t, c, "--config", "is no container image, but a archive"[:21])
	text := save(t, "text", bytes.Repeat([]byte("text"), 10000))
	fails(t, importCommand(text, source), text, "not an ext4 image")
	lock, err := openLocked(image, false)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	fails(t, importCommand(image, source), image, "in use")
}

// TestContainerErrors: what is wrong with a container image is said before anything is written.
func TestContainerErrors(t *testing.T) {
	layer := archive(t, file("f", "x"))
	make := func(change func(c container, m map[string]any)) container {
		c := container{}
		m := c.image("amd64", layer, archive(t, file("g", "y")))
		c.index(m)
		if change != nil {
			change(c, m)
		}
		return c
	}
	blob := func(p []byte) string { return "blobs/sha256/" + strings.TrimPrefix(sha(p), "sha256:") }
	// with rewrites the manifest.
	with := func(change func(m map[string]any)) container {
		c := container{}
		desc := c.image("amd64", layer)
		var m map[string]any
		if err := json.Unmarshal(c[blob2(desc)], &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		return c.index(c.json(m, testManifest))
	}
	first := func(m map[string]any) map[string]any { return m["layers"].([]any)[0].(map[string]any) }
	for _, test := range []struct {
		name  string
		c     container
		words []string
	}{
		{"layer changed", make(func(c container, m map[string]any) { c[blob(layer)] = append(bytes.Clone(layer[:len(layer)-1]), 1) }), []string{"layer 1 of 2", "should have sha256:", "damaged or was changed"}},
		{"layer shorter", make(func(c container, m map[string]any) { c[blob(layer)] = layer[:1000] }), []string{"layer 1 of 2", "has 1000 bytes, should have"}},
		{"layer missing", make(func(c container, m map[string]any) { delete(c, blob(layer)) }), []string{"layer 1 of 2", "missing"}},
		{"manifest changed", make(func(c container, m map[string]any) { c[blob2(m)][20] ^= 1 }), []string{"manifest", "damaged or was changed"}},
		{"manifest missing", make(func(c container, m map[string]any) { delete(c, blob2(m)) }), []string{"manifest", "missing"}},
		{"index damaged", make(func(c container, m map[string]any) { c["index.json"] = []byte("{") }), []string{"index.json"}},
		{"version", make(func(c container, m map[string]any) { c["oci-layout"] = []byte(`{"imageLayoutVersion":"2.0.0"}`) }), []string{"version", "2.0.0"}},
		{"no image", container{}.index(), []string{"no image in it"}},
		{"digest", with(func(m map[string]any) { first(m)["digest"] = "sha256:../../../../etc/passwd" }), []string{"digest"}},
		{"kind of digest", with(func(m map[string]any) { first(m)["digest"] = "md5:abc" }), []string{"md5", "not known"}},
		{"type", with(func(m map[string]any) { first(m)["mediaType"] = "application/vnd.in-toto+json" }), []string{"in-toto", "no archive"}},
		{"encrypted", with(func(m map[string]any) { first(m)["mediaType"] = testLayer + "+encrypted" }), []string{"encrypted"}},
		{"foreign", with(func(m map[string]any) {
			f := first(m)
			f["digest"] = sha([]byte("elsewhere"))
			f["urls"] = []string{"https://example.invalid/layer"}
		}), []string{"not in the layout", "example.invalid"}},
		{"more layers", with(func(m map[string]any) { m["layers"] = append(m["layers"].([]any), first(m)) }), []string{"has 2 layers", "speaks of 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			fails(t, importCommand(filepath.Join(t.TempDir(), "x.img"), test.c.dir(t)), test.words...)
			fails(t, importCommand(filepath.Join(t.TempDir(), "x.img"), save(t, "x.tar", test.c.tar(t))), test.words...)
		})
	}
	// The unpacked layer is another than the configuration says.
	c := container{}
	wrong := c.json(map[string]any{"mediaType": testManifest, "config": c.json(configJSON("amd64", []byte("other")), testConfig), "layers": []any{c.blob(gz(layer), testLayer+"+gzip")}}, testManifest)
	fails(t, importCommand(filepath.Join(t.TempDir(), "x.img"), c.index(wrong).dir(t)), "layer 1 of 1", "unpacked", "should have")
	// Indexes in indexes.
	c = container{}
	inner := c.image("amd64", layer)
	for range 10 {
		inner = c.json(map[string]any{"mediaType": testIndex, "manifests": []any{inner}}, testIndex)
	}
	fails(t, importCommand(filepath.Join(t.TempDir(), "x.img"), c.index(inner).dir(t)), "nested")
	// Several images.
	c = container{}
	one, two, arm := c.image("amd64", layer), c.image("amd64", archive(t, file("two", ""))), c.image("arm64", archive(t, file("arm", "")))
	for name, m := range map[string]map[string]any{"one": one, "two": two, "arm": arm} {
		m["annotations"] = map[string]any{"org.opencontainers.image.ref.name": name}
	}
	one["annotations"].(map[string]any)["io.containerd.image.name"] = "registry.invalid/lib/one:v1"
	both := c.index(one, two, arm).dir(t)
	fails(t, importCommand(filepath.Join(t.TempDir(), "x.img"), both), "several images", "one:v1", "two", "--ref")
	for _, ref := range []string{"one:v1", "lib/one:v1", "v1", "registry.invalid/lib/one:v1"} {
		cmd := importCommand(filepath.Join(t.TempDir(), "x.img"), both)
		cmd.Ref = ref
		ok(t, cmd)
		if got := names(describe(t, cmd.Image)); got != "/f" {
			t.Errorf("%s: %s", ref, got)
		}
	}
	cmd := importCommand(filepath.Join(t.TempDir(), "x.img"), both)
	cmd.Ref = "three"
	fails(t, cmd, "no image three", "two")
	cmd.Ref, cmd.Platform = "", "linux/s390x"
	fails(t, cmd, "no image for linux/s390x", "linux/amd64, linux/arm64", "--platform")
	cmd.Platform = "linux/arm64"
	ok(t, cmd)
	if got := names(describe(t, cmd.Image)); got != "/arm" {
		t.Errorf("arm64: %s", got)
	}
	// Docker archives.
	d := docker("amd64", layer)
	d[fmt.Sprintf("%064x/layer.tar", 0)] = archive(t, file("other", ""))
	fails(t, importCommand(filepath.Join(t.TempDir(), "x.img"), save(t, "x.tar", d.tar(t))), "layer 1 of 1", "should have")
	d = docker("amd64", layer)
	delete(d, fmt.Sprintf("%064x/layer.tar", 0))
	fails(t, importCommand(filepath.Join(t.TempDir(), "x.img"), save(t, "x.tar", d.tar(t))), "layer 1 of 1", "missing")
	// Taken as it is, and the configuration that is written out.
	cmd = importCommand(filepath.Join(t.TempDir(), "x.img"), make(nil).dir(t))
	cmd.Plain = true
	ok(t, cmd)
	if got := names(describe(t, cmd.Image)); !strings.Contains(got, "/index.json") {
		t.Errorf("plain: %s", got)
	}
	cmd = importCommand(filepath.Join(t.TempDir(), "x.img"), make(nil).dir(t))
	cmd.Config, cmd.Quiet = filepath.Join(t.TempDir(), "config.json"), false
	out := ok(t, cmd)
	for _, want := range []string{"linux/amd64, 2 layers", `runs:       /bin/sh -c 'echo it'\''s me'`, "in:         /work", "as:         1000", "environment:PATH=/bin", `X=1\n2`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if p, err := os.ReadFile(cmd.Config); err != nil || !bytes.Contains(p, []byte(`"Entrypoint"`)) {
		t.Errorf("%v: %s", err, p)
	}
	var m *oci.MismatchError
	_, err := openSource(make(func(c container, m map[string]any) { c[blob(layer)] = append(bytes.Clone(layer[:len(layer)-1]), 1) }).dir(t))
	if !errors.As(err, &m) {
		t.Errorf("%v is no MismatchError", err)
	}
}

func blob2(desc map[string]any) string {
	return "blobs/" + strings.Replace(desc["digest"].(string), ":", "/", 1)
}

// TestImportRandom puts random layers over each other: every image is clean, and the same layers give the
// same image, whether they come as one image or one by one.
func TestImportRandom(t *testing.T) {
	rounds, seed := 12, uint64(1)
	if os.Getenv("PINHOLE_LONG") != "" {
		rounds, seed = 500, rand.Uint64()
	}
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range rounds {
		var layers [][]byte
		for range 1 + rnd.IntN(4) {
			layers = append(layers, randomLayer(t, rnd))
		}
		c := container{}
		whole := filepath.Join(t.TempDir(), "whole.img")
		cmd := importCommand(whole, c.index(c.image("amd64", layers...)).dir(t))
		cmd.Size = 16 << 20
		_, err := run(t, cmd)
		if err != nil {
			continue // a part of it cannot be; other tests look at how that is said
		}
		e2fsck(t, whole)
		checkOwn(t, whole)
		apart := create(t, createCmd{Size: 16 << 20})
		for _, l := range layers {
			cmd := importCommand(apart, save(t, "layer", l))
			cmd.Layer = true
			ok(t, cmd)
		}
		plain := func(image string) map[string]string {
			all := describe(t, image)
			for p, d := range all {
				// Directories that nobody names have the time of their making.
				if strings.HasPrefix(d, "d") {
					all[p] = d[:10]
				}
			}
			return all
		}
		if d := cmp.Diff(plain(whole), plain(apart)); d != "" {
			t.Fatalf("one by one is different: %s", d)
		}
		again := imported(t, exportFile(t, whole, "/"))
		if d := cmp.Diff(plain(whole), plain(again)); d != "" {
			t.Fatalf("the import of its export is different: %s", d)
		}
	}
}

// randomLayer makes a layer of few names, so that they meet.
func randomLayer(t testing.TB, rnd *rand.Rand) []byte {
	name := func() string {
		n := ""
		for range 1 + rnd.IntN(3) {
			n += "/" + []string{"a", "b", "c", "d", "..", "e"}[rnd.IntN(6)]
		}
		return n[rnd.IntN(2):]
	}
	var list []entry
	for range rnd.IntN(15) {
		n := name()
		switch rnd.IntN(9) {
		case 0, 1:
			list = append(list, dir(n))
		case 2, 3:
			list = append(list, file(n, strings.Repeat(n, rnd.IntN(3000))))
		case 4:
			list = append(list, symlink(n, []string{"a", "/b", "../c", "b/c", "."}[rnd.IntN(5)]))
		case 5:
			// Of what this layer brings, so that it mostly is there.
			if len(list) > 0 && list[len(list)-1].Type == tarfile.Regular {
				list = append(list, hardlink(n, list[len(list)-1].Name))
			}
		case 6:
			list = append(list, file(filepath.Join(filepath.Dir(n), ".wh."+filepath.Base(strings.ReplaceAll(n, "..", "a"))), ""))
		case 7:
			list = append(list, file(n+"/.wh..wh..opq", ""))
		case 8:
			list = append(list, entry{Header: tarfile.Header{Name: n, Type: tarfile.Fifo}})
		}
	}
	return archive(t, list...)
}

// TestImportMemory: what an import needs does not grow with what it imports.
func TestImportMemory(t *testing.T) {
	if os.Getenv("PINHOLE_LONG") == "" && testing.Short() {
		t.Skip("writes some hundred megabytes")
	}
	size := int64(150 << 20)
	name := filepath.Join(t.TempDir(), "a.tar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := tarfile.NewWriter(f)
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for i := range 10 {
		w.Header(&tarfile.Header{Name: fmt.Sprint("file", i), Type: tarfile.Regular, Size: size / 10})
		for range size / 10 / int64(len(block)) {
			w.Write(block)
		}
	}
	for i := range 20000 {
		w.Header(&tarfile.Header{Name: fmt.Sprintf("dir%d/sub%d/", i%100, i), Type: tarfile.Directory, Mode: 0o755})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	image := filepath.Join(t.TempDir(), "disk.img")
	ok(t, importCommand(image, name))
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 140<<20 {
		t.Errorf("takes %d MiB more from the host", grown>>20)
	}
	t.Logf("%d MiB more from the host, %d MiB allocated in all", (after.Sys-before.Sys)>>20, (after.TotalAlloc-before.TotalAlloc)>>20)
}

// TestDirectoryLoop: a directory that is in itself is an error, and not without end.
func TestDirectoryLoop(t *testing.T) {
	tool, err := findTool("debugfs")
	if err != nil {
		t.Skip(err)
	}
	image := small(t)
	if out, err := exec.Command(tool, "-w", "-R", "link /a /a/b/loop", image).CombinedOutput(); err != nil {
		t.Skipf("debugfs: %v\n%s", err, out)
	}
	for _, c := range []interface{ Run() error }{
		&lsCmd{Image: image, Recursive: true}, &lsCmd{Image: image, Recursive: true, Long: true}, &getCmd{Image: image, Path: []string{"/", t.TempDir()}},
		&duCmd{Image: image, Depth: -1}, &findCmd{Image: image, MaxDepth: -1}, &exportCmd{Image: image, Path: "/", Output: filepath.Join(t.TempDir(), "x.tar")},
		&chmodCmd{Image: image, Mode: "755", Recursive: true, Path: []string{"/"}}, &rmCmd{Image: image, Recursive: true, Path: []string{"/a"}},
	} {
		fails(t, c, "loop", "pinhole image check")
	}
	fails(t, &resizeCmd{Image: image, Size: "1G"}, "damaged")
}
