package image

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"pinhole/abi"
)

// format writes what --format says of a file. dry only checks it.
func (f *finder) format(b *strings.Builder, n *treeNode, dry bool) error {
	text := f.c.Format
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '%' && c != '\\' {
			b.WriteByte(c)
			continue
		}
		if i++; i == len(text) {
			return fmt.Errorf("--format ends with %q", c)
		}
		if c == '\\' {
			escapes := map[byte]byte{'n': '\n', 't': '\t', '0': 0, '\\': '\\', 'r': '\r'}
			e, ok := escapes[text[i]]
			if !ok {
				return fmt.Errorf("--format has \\%c, which is not known", text[i])
			}
			b.WriteByte(e)
			continue
		}
		switch text[i] {
		case '%':
			b.WriteByte('%')
		case 'p':
			b.WriteString(n.path)
		case 'P':
			b.WriteString(strings.TrimPrefix(strings.TrimPrefix(n.path, f.start), "/"))
		case 'f':
			b.WriteString(n.name)
		case 'h':
			b.WriteString(path.Dir(n.path))
		case 's':
			fmt.Fprint(b, n.a.Size)
		case 'b':
			fmt.Fprint(b, n.a.Blocks)
		case 'k':
			fmt.Fprint(b, (n.a.Blocks+1)/2)
		case 'm':
			fmt.Fprintf(b, "%o", n.a.Mode&0o7777)
		case 'M':
			b.WriteString(modeString(n.a.Mode))
		case 'u', 'U':
			fmt.Fprint(b, n.a.UID)
		case 'g', 'G':
			fmt.Fprint(b, n.a.GID)
		case 'n':
			fmt.Fprint(b, n.a.Nlink)
		case 'i':
			fmt.Fprint(b, n.a.Ino)
		case 'd':
			fmt.Fprint(b, n.depth)
		case 'y':
			b.WriteByte(typeLetter(n.a.Mode))
		case 't':
			b.WriteString(mtime(n).Format("2006-01-02 15:04:05.000000000"))
		case 'T':
			if i+1 >= len(text) || text[i+1] != '@' {
				return errors.New("--format has %T without @, which is all there is of it")
			}
			i++
			fmt.Fprintf(b, "%d.%09d", n.a.Mtime.Sec, n.a.Mtime.Nsec)
		case 'l':
			if !dry && n.a.Mode&abi.S_IFMT == abi.S_IFLNK {
				target, e := n.d.Node().Readlink()
				if e != 0 {
					return f.im.fail(n.path, e)
				}
				b.WriteString(target)
			}
		default:
			return fmt.Errorf("--format has %%%c, which is not known", text[i])
		}
	}
	return nil
}
