package units

import "testing"

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want string
	}{{0, "0"}, {1023, "1023"}, {1024, "1.0K"}, {1536, "1.5K"}, {10 << 10, "10K"}, {10138, "9.9K"}, {1 << 20, "1.0M"}, {20 << 30, "20G"}, {3 << 40, "3.0T"}, {1<<63 - 1, "8192P"}} {
		if got := Format(c.n); got != c.want {
			t.Errorf("%d: got %q, want %q", c.n, got, c.want)
		}
	}
}
