package tarfile

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// all reads an archive: headers, and data by index.
func all(r io.Reader) ([]*Header, []string, error) {
	t := NewReader(r)
	var hs []*Header
	var data []string
	for {
		h, err := t.Next()
		if err == io.EOF {
			return hs, data, nil
		}
		if err != nil {
			return hs, data, err
		}
		content, err := io.ReadAll(t)
		if err != nil {
			return hs, data, err
		}
		hs, data = append(hs, h), append(data, string(content))
	}
}

// write makes an archive.
func write(t testing.TB, hs []*Header, data []string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for i, h := range hs {
		if err := w.Header(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

var long = strings.Repeat("a-long-directory/", 20) + "name"

var samples = []struct {
	h    Header
	data string
}{
	{Header{Name: "plain", Type: Regular, Mode: 0o644, UID: 1, GID: 2, Size: 5, Mtime: Time{Sec: 1e9}}, "hello"},
	{Header{Name: "dir/", Type: Directory, Mode: 0o1755, Mtime: Time{Sec: 1e9, Nsec: 123456789}}, ""},
	{Header{Name: "prefix/" + strings.Repeat("p", 90) + "/" + strings.Repeat("n", 90), Type: Regular}, ""},
	{Header{Name: long, Type: Regular, Mode: 0o4755, UID: 1 << 31, GID: 1<<32 - 2, Size: 1, Mtime: Time{Sec: -5, Nsec: 1}}, "x"},
	{Header{Name: "ünïcode", Type: Symlink, Mode: 0o777, Linkname: long, Mtime: Time{Sec: 1 << 33}, Atime: Time{Sec: 3, Nsec: 5e8}, HasAtime: true}, ""},
	{Header{Name: "bytes-\xff\n", Type: Regular, Mtime: Time{Sec: -1, Nsec: 5e8}}, ""},
	{Header{Name: "hard", Type: Hardlink, Linkname: "plain"}, ""},
	{Header{Name: "null", Type: Char, Mode: 0o666, Major: 1, Minor: 3}, ""},
	{Header{Name: "big-minor", Type: Block, Major: 4095, Minor: 1 << 22}, ""},
	{Header{Name: "fifo", Type: Fifo}, ""},
	{Header{Name: "xattr", Type: Regular, Xattrs: map[string]string{"user.a": "b\x00\n=", "user.empty": "", "security.capability": "\x01\x00\x00\x02"}}, ""},
	{Header{Name: "sparse", Type: Regular, Size: 1 << 42, Sparse: []Segment{{0, 512}, {1 << 20, 1024}, {1<<42 - 1, 1}}}, strings.Repeat("z", 1537)},
	{Header{Name: "hole", Type: Regular, Size: 1 << 30, Sparse: []Segment{}}, ""},
	{Header{Name: "end-hole/" + long, Type: Regular, Size: 1 << 30, Sparse: []Segment{{512, 2}}}, "zz"},
}

func sampleArchive(t testing.TB) ([]*Header, []string, []byte) {
	var hs []*Header
	var data []string
	for i := range samples {
		hs, data = append(hs, &samples[i].h), append(data, samples[i].data)
	}
	return hs, data, write(t, hs, data)
}

func TestRoundTrip(t *testing.T) {
	hs, data, archive := sampleArchive(t)
	got, gotData, err := all(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(hs, got); d != "" {
		t.Errorf("headers (-want +got):\n%s", d)
	}
	if d := cmp.Diff(data, gotData); d != "" {
		t.Errorf("data (-want +got):\n%s", d)
	}
	// Passing over the data, by seeking or not, gives the same.
	for _, src := range []io.Reader{bytes.NewReader(archive), struct{ io.Reader }{bytes.NewReader(archive)}} {
		r := NewReader(src)
		for i := 0; ; i++ {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(hs[i], h); d != "" {
				t.Errorf("header %d: %s", i, d)
			}
		}
		if !r.Marked() {
			t.Error("no end mark")
		}
	}
}

// TestStandard: archive/tar reads the same in what Writer makes.
func TestStandard(t *testing.T) {
	hs, data, archive := sampleArchive(t)
	r := tar.NewReader(bytes.NewReader(archive))
	for i, want := range hs {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != want.Name || h.Linkname != want.Linkname || int64(h.Uid) != want.UID || int64(h.Gid) != want.GID || h.Size != want.Size ||
			uint32(h.Mode) != want.Mode || h.Typeflag != want.Type || !h.ModTime.Equal(time.Unix(want.Mtime.Sec, int64(want.Mtime.Nsec))) {
			t.Errorf("%q: got %+v", want.Name, h)
		}
		for name, value := range want.Xattrs {
			if value != "" && h.PAXRecords["SCHILY.xattr."+name] != value {
				t.Errorf("%s: attribute %s: %q", want.Name, name, h.PAXRecords["SCHILY.xattr."+name])
			}
		}
		if want.Size < 1<<20 {
			if content, err := io.ReadAll(r); err != nil || string(content) != data[i] {
				t.Errorf("%s: %v, %q", want.Name, err, content)
			}
		}
	}
}

// TestGNU: what GNU tar makes in each of its formats is read, and what Writer makes GNU tar lists.
func TestGNU(t *testing.T) {
	tool, err := exec.LookPath("tar")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	longName := strings.Repeat("d/", 60) + strings.Repeat("n", 120)
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(longName)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"file", longName} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	var parts []Segment
	for i := range int64(40) { // more than fit into the header and one block more
		f.WriteAt([]byte("data"), i<<20)
		parts = append(parts, Segment{i << 20, 4096})
	}
	f.Truncate(50 << 20)
	f.Close()
	when := time.Unix(1234567890, 987654321)
	os.Chtimes(filepath.Join(dir, "file"), when, when)
	for _, format := range [][]string{
		{"--format=gnu"}, {"--format=gnu", "-S"}, {"--format=ustar", "--exclude=" + filepath.Base(longName)}, {"--format=v7", "--exclude=d"},
		{"--format=pax"}, {"--format=pax", "-S", "--sparse-version=0.0"}, {"--format=pax", "-S", "--sparse-version=0.1"}, {"--format=pax", "-S", "--sparse-version=1.0"},
		{"--format=pax", "-S", "--pax-option=globexthdr.name=g,uid=77"},
	} {
		t.Run(strings.Join(format, " "), func(t *testing.T) {
			cmd := exec.Command(tool, append(format, "-c", "-C", dir, ".")...)
			out, err := cmd.Output()
			if err != nil {
				t.Skip(err) // an option that this tar does not have
			}
			hs, data, err := all(bytes.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]bool{}
			for i, h := range hs {
				found[h.Name] = true
				switch h.Name {
				case "./file":
					want := Time{Sec: 1234567890}
					if strings.Contains(format[0], "pax") {
						want.Nsec = 987654321
					}
					if data[i] != "file" || h.Mtime != want || h.Mode != 0o644 {
						t.Errorf("%+v %q", h, data[i])
					}
					if strings.Contains(strings.Join(format, " "), "uid=77") && h.UID != 77 {
						t.Errorf("global header: uid %d", h.UID)
					}
				case "./" + longName:
					if data[i] != longName {
						t.Errorf("%q", data[i])
					}
				case "./sparse":
					if h.Size != 50<<20 {
						t.Errorf("size %d", h.Size)
					}
					if len(format) > 1 && format[1] == "-S" {
						if d := cmp.Diff(parts, h.Sparse); d != "" {
							t.Errorf("map: %s", d)
						}
					}
				}
			}
			if !found["./file"] || !found["./sparse"] || !found["./"+longName] && len(format) == 1 {
				t.Errorf("found %v", found)
			}
		})
	}
	hs, data, _ := sampleArchive(t)
	archive := write(t, hs, data)
	cmd := exec.Command(tool, "-tv", "--numeric-owner")
	cmd.Stdin = bytes.NewReader(archive)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"-rw-r--r-- 1/2", "drwxr-xr-t 0/0", "-rwsr-xr-x 2147483648/4294967294", long, "link to plain", "1,3", "4095,4194304", "p---", "4398046511104", "sparse"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("tar -tv has no %q:\n%s", want, out)
		}
	}
	// And it unpacks a sparse file to the same.
	small := []*Header{{Name: "s", Type: Regular, Mode: 0o600, Size: 1 << 20, Sparse: []Segment{{4096, 512}, {8192, 1}}}, {Name: "h", Type: Regular, Mode: 0o600, Size: 1 << 20, Sparse: []Segment{}}}
	cmd = exec.Command(tool, "-x", "-C", dir)
	cmd.Stdin = bytes.NewReader(write(t, small, []string{strings.Repeat("a", 512) + "d", ""}))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := make([]byte, 1<<20)
	if got, err := os.ReadFile(filepath.Join(dir, "h")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("hole: %v, %d bytes", err, len(got))
	}
	copy(want[4096:], strings.Repeat("a", 512))
	want[8192] = 'd'
	if got, err := os.ReadFile(filepath.Join(dir, "s")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("sparse: %v, %d bytes", err, len(got))
	}
}

// TestCut: wherever an archive is cut, but between entries, that is said; and never is more than there is.
func TestCut(t *testing.T) {
	hs, _, archive := sampleArchive(t)
	r := NewReader(bytes.NewReader(archive))
	bounds := map[int64]bool{0: true}
	for range hs {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		bounds[r.Offset()+padded(h.Stored())] = true
	}
	for n := range int64(len(archive)) {
		_, _, err := all(bytes.NewReader(archive[:n]))
		r := NewReader(struct{ io.Reader }{bytes.NewReader(archive[:n])})
		var skipErr error
		for skipErr == nil {
			_, skipErr = r.Next()
		}
		end := n >= int64(len(archive))-2*BlockSize
		if bounds[n] || end {
			continue // a lone zero block counts as an end
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(skipErr, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v, %v", n, err, skipErr)
		}
		var f *FormatError
		if !errors.As(err, &f) {
			t.Fatalf("cut at %d: %v is no FormatError", n, err)
		}
		if bounds[n] && r.Marked() {
			t.Errorf("cut at %d: end mark", n)
		}
	}
	// Seeking over data that are not there.
	name := filepath.Join(t.TempDir(), "cut")
	h := &Header{Name: "big", Type: Regular, Size: 1 << 20}
	big := write(t, []*Header{h}, []string{strings.Repeat("x", 1<<20)})
	if err := os.WriteFile(name, big[:1<<19], 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seek := NewReader(f)
	seek.Next()
	if _, err := seek.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("seek beyond the end: %v", err)
	}
}

func TestHostile(t *testing.T) {
	head := func(name string, typ byte, size string, change func(*block)) []byte {
		var b block
		copy(b.bytes(fName), name)
		copy(b.bytes(fMagic), magicUstar)
		copy(b.bytes(fSize), size)
		b[fType.off] = typ
		if change != nil {
			change(&b)
		}
		seal(&b)
		return b[:]
	}
	ext := func(records string) []byte {
		p := head("x", paxLocal, fmt.Sprintf("%o", len(records)), nil)
		p = append(p, records...)
		return append(p, make([]byte, padded(int64(len(records)))-int64(len(records)))...)
	}
	cat := func(p ...[]byte) []byte { return bytes.Join(p, nil) }
	record := func(k, v string) string { return string(formatPAX(map[string]string{k: v})) }
	file := head("f", Regular, "0", nil)
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"no archive":         {bytes.Repeat([]byte("text"), 1000), "does not start with a header"},
		"checksum":           {cat(file, bytes.Repeat([]byte("text"), 1000)), "checksum"},
		"zeros between":      {cat(file, make([]byte, 512), file), "zeros"},
		"size below zero":    {head("f", Regular, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", nil), "size"},
		"size beyond all":    {head("f", Regular, "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", nil), "size"},
		"size with letters":  {head("f", Regular, "12x", nil), "size"},
		"huge header":        {head("f", paxLocal, "77777777777", nil), "too much"},
		"huge name":          {head("f", gnuLongName, "77777777777", nil), "too much"},
		"record":             {cat(ext("999 a=b\n"), file), "record"},
		"record of nothing":  {cat(ext("3 \n"), file), "record"},
		"record without key": {cat(ext("6 =ab\n"), file), "key"},
		"time":               {cat(ext(record(paxMtime, "1.x")), file), "mtime"},
		"PAX size":           {cat(ext(record(paxSize, "-1")), file), "below zero"},
		"header at the end":  {cat(ext(record(paxMtime, "1")), make([]byte, 1024)), "without an entry"},
		"volumes":            {head("f", gnuMulti, "0", nil), "several volumes"},
		"map beyond the end": {cat(ext(record(paxSparseSize, "10")+record(paxSparseMap, "8,4")), head("f", Regular, "4", nil)), "out of order"},
		"map overlaps":       {cat(ext(record(paxSparseSize, "10")+record(paxSparseMap, "0,4,2,4")), head("f", Regular, "10", nil)), "out of order"},
		"map overflows":      {cat(ext(record(paxSparseSize, "10")+record(paxSparseMap, "5,9223372036854775807")), file), "out of order"},
		"map too short":      {cat(ext(record(paxSparseSize, "10")+record(paxSparseMap, "0,4")), head("f", Regular, "7", nil)), "not as long"},
		"map without size":   {cat(ext(record(paxSparseMap, "0,4")), file), "without its size"},
		"map odd":            {cat(ext(record(paxSparseSize, "10")+record(paxSparseMap, "0,4,5")), file), "cannot be read"},
		"map in data":        {cat(ext(record(paxSparseMajor, "1")+record(paxSparseMinor, "0")+record(paxSparseReal, "5")), file), "does not end"},
		"map version":        {cat(ext(record(paxSparseMajor, "2")+record(paxSparseMinor, "0")), file), "version"},
		"GNU map":            {head("f", gnuSparse, "1", func(b *block) { copy(b.bytes(fGNUMap), "77777777777\x001\x00") }), "out of order"},
		"two sizes of times": {cat(ext(record(paxUID, "99999999999999999999")), file), "uid"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := all(bytes.NewReader(cat(c.archive, make([]byte, 4096))))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
		})
	}
}

// FuzzReader: nothing that an archive says makes the reader crash or hang, or take much memory; what it and
// archive/tar both read, they read the same; and what it reads, Writer can write.
func FuzzReader(f *testing.F) {
	_, _, archive := sampleArchive(f)
	f.Add(archive)
	for i := range samples {
		f.Add(write(f, []*Header{&samples[i].h}, []string{samples[i].data}))
	}
	var std bytes.Buffer
	w := tar.NewWriter(&std)
	w.WriteHeader(&tar.Header{Name: long + long, Format: tar.FormatGNU, ModTime: time.Unix(-1, 0), Size: 3})
	w.Write([]byte("abc"))
	w.Close()
	f.Add(std.Bytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		r := NewReader(bytes.NewReader(p))
		s := tar.NewReader(bytes.NewReader(p))
		same := true
		for range 100 {
			h, err := r.Next()
			if err != nil {
				return
			}
			var sh *tar.Header
			if same {
				sh, err = s.Next()
				// It refuses some things that are harmless here, and takes types that have no place here.
				same = err == nil && sh.Typeflag != tar.TypeXGlobalHeader
			}
			if same && sh.Size == h.Size && h.Type == sh.Typeflag {
				if h.Linkname != sh.Linkname || int64(sh.Uid) != h.UID {
					t.Errorf("%q %q %d, archive/tar has %q %q %d", h.Name, h.Linkname, h.UID, sh.Name, sh.Linkname, sh.Uid)
				}
			}
			n, err := io.Copy(io.Discard, r)
			if n > int64(len(p)) {
				t.Fatalf("%d bytes of data in an archive of %d", n, len(p))
			}
			if err != nil {
				return
			}
			if n != h.Stored() {
				t.Fatalf("%d bytes of %d", n, h.Stored())
			}
			if h.Type == Regular {
				if err := NewWriter(io.Discard).Header(h); err != nil && !strings.Contains(err.Error(), "attribute") && !strings.Contains(err.Error(), "multiple of") {
					t.Fatal(err)
				}
			}
		}
	})
}
