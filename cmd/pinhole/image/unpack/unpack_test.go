package unpack

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

func content() []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, 300_000)
	for i := range p {
		p[i] = "abcdefgh"[rnd.IntN(8)]
	}
	return p
}

// compressed returns the same content in every format that can be made here.
func compressed(t testing.TB, plain []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"plain": plain}
	put := func(name string, new func(io.Writer) (io.WriteCloser, error)) {
		var buf bytes.Buffer
		w, err := new(&buf)
		if err == nil {
			if _, err = w.Write(plain); err == nil {
				err = w.Close()
			}
		}
		if err != nil {
			t.Fatal(name, err)
		}
		all[name] = buf.Bytes()
	}
	put("gzip", func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
	put("zstd", func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
	for name, check := range map[string]byte{"xz none": xz.None, "xz crc32": xz.CRC32, "xz crc64": xz.CRC64, "xz sha256": xz.SHA256} {
		put(name, func(w io.Writer) (io.WriteCloser, error) {
			return xz.WriterConfig{CheckSum: check, NoCheckSum: check == xz.None, BlockSize: 100_000, DictCap: 1 << 16}.NewWriter(w)
		})
	}
	for _, tool := range []string{"xz", "bzip2"} {
		cmd := exec.Command(tool, "-c")
		cmd.Stdin = bytes.NewReader(plain)
		if out, err := cmd.Output(); err == nil {
			all["tool "+tool] = out
		}
	}
	return all
}

func unpack(p []byte) ([]byte, error) {
	r, _, err := NewReader(bytes.NewReader(p))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestFormats(t *testing.T) {
	plain := content()
	for name, p := range compressed(t, plain) {
		t.Run(name, func(t *testing.T) {
			got, err := unpack(p)
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%v, %d bytes", err, len(got))
			}
			if name == "plain" {
				return
			}
			// Two streams, one behind the other.
			if got, err := unpack(append(bytes.Clone(p), p...)); err != nil || len(got) != 2*len(plain) {
				t.Errorf("twice: %v, %d bytes", err, len(got))
			}
			for _, n := range []int{7, 20, len(p) / 2, len(p) - 5, len(p) - 1} {
				if got, err := unpack(p[:n]); err == nil || !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("cut at %d of %d: %v, %d bytes", n, len(p), err, len(got))
				}
			}
			rnd := rand.New(rand.NewPCG(3, 4))
			found := 0
			for range 50 {
				bad := bytes.Clone(p)
				bad[50+rnd.IntN(len(bad)-100)] ^= 0x10
				if got, err := unpack(bad); err != nil || !bytes.Equal(got, plain) {
					found++
				}
			}
			if found < 49 && name != "xz none" {
				t.Errorf("%d of 50 changes found", found)
			}
		})
	}
	if _, err := unpack([]byte("\x04\x22\x4d\x18xxxxx")); err == nil || !strings.Contains(err.Error(), "lz4 -dc") {
		t.Errorf("lz4: %v", err)
	}
	if got, err := unpack(nil); err != nil || len(got) != 0 {
		t.Errorf("nothing: %v", err)
	}
}

// TestWindow: a stream that asks for gigabytes is refused.
func TestWindow(t *testing.T) {
	var buf bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 1 << 30}.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("x"))
	w.Close()
	if _, err := unpack(buf.Bytes()); err == nil || !strings.Contains(err.Error(), "128 MiB") {
		t.Errorf("xz: %v", err)
	}
	// Magic, a descriptor without a known size, a window of 2 GiB; an empty last block.
	huge := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 1, 0, 0}
	if _, err := unpack(huge); err == nil || !strings.Contains(err.Error(), "128 MiB") {
		t.Errorf("zstd: %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	for _, p := range compressed(f, []byte("some content, some content")) {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		r, _, err := NewReader(bytes.NewReader(p))
		if err != nil {
			return
		}
		defer r.Close()
		io.CopyN(io.Discard, r, 1<<24)
	})
}
