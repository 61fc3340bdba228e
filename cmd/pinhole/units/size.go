// Package units reads quantities on the command line.
package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes on the command line: "512M", "2G", "65536". Units are powers of 1024;
// "MiB" and "MB" mean the same as "M".
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	str := strings.ToUpper(strings.TrimSpace(string(text)))
	digits := strings.TrimRight(str, "KMGTIB")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a size; write 65536, 512M or 2G", text)
	}
	shift, ok := map[string]int{"": 0, "B": 0, "K": 10, "KB": 10, "KIB": 10, "M": 20, "MB": 20, "MIB": 20, "G": 30, "GB": 30, "GIB": 30, "T": 40, "TB": 40, "TIB": 40}[str[len(digits):]]
	if !ok || n > math.MaxInt64>>shift {
		return fmt.Errorf("%q is not a size; write 65536, 512M or 2G", text)
	}
	*s = Size(n << shift)
	return nil
}

// Format shows a number of bytes for a person: "512", "1.5M", "20G".
func Format(n int64) string {
	v, unit := float64(n), ""
	for _, u := range []string{"K", "M", "G", "T", "P"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, u
	}
	if unit == "" || v >= 9.95 {
		return strconv.FormatFloat(v, 'f', 0, 64) + unit
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + unit
}
