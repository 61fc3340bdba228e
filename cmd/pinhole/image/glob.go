package image

import (
	"fmt"
	"regexp"
	"strings"
)

// glob makes a matcher of a shell pattern: *, ?, [a-z], [!a-z], and \ in front of what stands for itself.
// A * matches slashes, too. It is for whole names.
func glob(pattern string, fold bool) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`(?s`)
	if fold {
		b.WriteByte('i')
	}
	b.WriteString(`)^`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteByte('.')
		case '\\':
			if i++; i == len(pattern) {
				return nil, fmt.Errorf("pattern %q ends with a backslash", pattern)
			}
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case '[':
			// A ] right behind the start is one of the characters.
			from := i + 1
			if from < len(pattern) && (pattern[from] == '!' || pattern[from] == '^') {
				from++
			}
			end := strings.IndexByte(pattern[min(from+1, len(pattern)):], ']')
			if end < 0 {
				b.WriteString(`\[`)
				continue
			}
			end += from + 1
			b.WriteByte('[')
			if from > i+1 {
				b.WriteByte('^')
			}
			b.WriteString(strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(pattern[from:end]))
			b.WriteByte(']')
			i = end
		default:
			// By bytes: names need not be UTF-8, and what is not is matched as it is.
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	b.WriteByte('$')
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return re, nil
}
