package control

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// full returns a Config in which no field is zero, so that a field missing from fields shows.
func full(t *testing.T) Config {
	var c Config
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		switch f.Kind() {
		case reflect.String:
			f.SetString("text of " + v.Type().Field(i).Name)
		case reflect.Slice:
			f.Set(reflect.ValueOf([]string{"", "a", strings.Repeat("b", 300)}))
		case reflect.Int64:
			f.SetInt(int64(-1 - i))
		case reflect.Uint32:
			f.SetUint(uint64(i + 1))
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Array:
			f.Index(1).SetBool(true)
		default:
			t.Fatalf("field %s: the test does not know its kind", v.Type().Field(i).Name)
		}
	}
	return c
}

func TestConfigRoundTrip(t *testing.T) {
	for _, want := range []Config{{}, full(t)} {
		var b bytes.Buffer
		if err := want.Send(&b); err != nil {
			t.Fatal(err)
		}
		b.WriteString("what follows")
		got := Config{Args: []string{"left over"}}
		if err := got.Receive(&b); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-sent +received)\n%s", d)
		}
		if b.String() != "what follows" {
			t.Errorf("the receiver left %q", b.String())
		}
	}
}

func TestConfigGarbled(t *testing.T) {
	var b bytes.Buffer
	c := full(t)
	if err := c.Send(&b); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	for n := range good {
		if err := new(Config).Receive(bytes.NewReader(good[:n])); err == nil {
			t.Errorf("accepted the first %d of %d bytes", n, len(good))
		}
	}
	for _, at := range []int{0, 8, 12, 15} {
		bad := bytes.Clone(good)
		bad[at] ^= 0x81
		if err := new(Config).Receive(bytes.NewReader(bad)); err == nil {
			t.Errorf("accepted a changed byte %d", at)
		}
	}
	long := Config{Args: []string{strings.Repeat("x", MaxConfig)}}
	if err := long.Send(io.Discard); err == nil {
		t.Error("sent a configuration that is too long")
	}
}

func TestFrames(t *testing.T) {
	want := []Frame{
		{Kind: Running, Text: []byte{}},
		{Kind: Exited, Value: 1 << 40, Text: []byte{}},
		{Kind: Report, Text: []byte("line\n")},
		{Kind: Trace, Text: bytes.Repeat([]byte("y"), MaxText)},
	}
	var b []byte
	for _, f := range want {
		b = f.Append(b)
	}
	var got []Frame
	r := NewReader(bytes.NewReader(b))
	for {
		f, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Text = bytes.Clone(f.Text)
		got = append(got, f)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-sent +received)\n%s", d)
	}
	long := Frame{Kind: Report, Text: make([]byte, MaxText+1)}
	if n := len(long.Append(nil)); n != frameHeader+MaxText {
		t.Errorf("a frame that is too long has %d bytes", n)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add((&Frame{Kind: Report, Text: []byte("text")}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for {
			f, err := r.Next()
			if err != nil {
				return
			}
			if len(f.Text) > MaxText {
				t.Fatalf("text of %d bytes", len(f.Text))
			}
		}
	})
}

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain text\n\tand tab", "plain text\n\tand tab"},
		{"naïve Größe 漢字 €", "naïve Größe 漢字 €"},
		{"\x1b[31mred\x1b]0;title\x07", "?[31mred?]0;title?"},
		{"bell\a back\b cr\r nul\x00 del\x7f", "bell? back? cr? nul? del?"},
		{"\u009b31m", "??31m"},
		{"\x9b31m", "?31m"},
		{"\xff\xfe \xe2\x82", "?? ??"},
		{"abc\u202edef", "abc???def"},
	} {
		if got := string(Clean([]byte(c.in))); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}
