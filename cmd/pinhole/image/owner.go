package image

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"pinhole/abi"
)

// maxAccounts bounds what is read of the image's lists of names.
const maxAccounts = 4 << 20

// owner returns the number of a user or group: as given, or by its name in a list of the image
// (/etc/passwd, /etc/group).
func (im *Image) owner(list, name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && n < 1<<32-1 {
		return uint32(n), nil
	}
	d, a, err := im.walk(list, true)
	if err != nil {
		return 0, fmt.Errorf("%q is no number, and the image has no %s with names", name, list)
	}
	defer d.Unref()
	if a.Mode&abi.S_IFMT != abi.S_IFREG || a.Size > maxAccounts {
		return 0, fmt.Errorf("%q is no number, and %s of the image is no list of names", name, list)
	}
	var buf bytes.Buffer
	if err := im.read(d, list, a.Size, &buf); err != nil && err != io.EOF {
		return 0, err
	}
	for line := range strings.Lines(buf.String()) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 3 || f[0] != name {
			continue
		}
		if n, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			return uint32(n), nil
		}
	}
	return 0, fmt.Errorf("%q is neither a number nor a name in %s of the image", name, list)
}

// parseOwner reads "USER", "USER:GROUP", ":GROUP" or "USER:"; set says which are there. USER: without a
// group is as USER.
func (im *Image) parseOwner(text string) (uid, gid uint32, setUID, setGID bool, err error) {
	user, group, _ := strings.Cut(text, ":")
	if user == "" && group == "" {
		return 0, 0, false, false, fmt.Errorf("%q is not an owner; write UID:GID, or names", text)
	}
	if user != "" {
		if uid, err = im.owner("/etc/passwd", user); err != nil {
			return
		}
		setUID = true
	}
	if group != "" {
		if gid, err = im.owner("/etc/group", group); err != nil {
			return
		}
		setGID = true
	}
	return
}
