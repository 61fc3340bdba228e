package image

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Attributes that are POSIX ACLs.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// Tags of ACL entries, and the version of the attribute's format (linux/posix_acl_xattr.h).
const (
	aclVersion   = 2
	aclUserObj   = 0x01
	aclUser      = 0x02
	aclGroupObj  = 0x04
	aclGroup     = 0x08
	aclMask      = 0x10
	aclOther     = 0x20
	aclNoID      = ^uint32(0)
	aclMaxInText = 10_000
)

// parseACL makes the attribute of an ACL's text (acl(5), "user::rw-,user:1000:r--,..."), as star and GNU
// tar have it. Who is named must be so by a number: as the name, or as star does in a fourth field.
// Without more than what the mode says, it is "".
func parseACL(text string) (string, error) {
	type entry struct {
		tag, perm uint16
		id        uint32
	}
	var all []entry
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		line = strings.TrimPrefix(strings.TrimSpace(line), "default:")
		if line == "" {
			continue
		}
		f := strings.Split(line, ":")
		if len(f) == 2 && (f[0] == "mask" || f[0] == "other") {
			f = []string{f[0], "", f[1]}
		}
		if len(f) < 3 || len(f) > 4 || len(all) >= aclMaxInText {
			return "", fmt.Errorf("%.40q is no entry of one", line)
		}
		e := entry{id: aclNoID}
		for _, c := range strings.TrimSpace(f[2]) {
			bit := strings.IndexRune("xwr", c)
			if bit < 0 && c != '-' {
				return "", fmt.Errorf("%.40q has no permissions", line)
			}
			if bit >= 0 {
				e.perm |= 1 << bit
			}
		}
		tags := map[string][2]uint16{"user": {aclUserObj, aclUser}, "u": {aclUserObj, aclUser}, "group": {aclGroupObj, aclGroup}, "g": {aclGroupObj, aclGroup},
			"mask": {aclMask}, "m": {aclMask}, "other": {aclOther}, "o": {aclOther}}
		tag, ok := tags[f[0]]
		if !ok {
			return "", fmt.Errorf("%.40q is no entry of one", line)
		}
		e.tag = tag[0]
		if f[1] != "" && tag[1] != 0 {
			id := f[len(f)-1]
			if len(f) == 3 {
				id = f[1]
			}
			n, err := strconv.ParseUint(id, 10, 32)
			if err != nil || uint32(n) == aclNoID {
				return "", fmt.Errorf("%.40q names somebody by a name and not by a number (with GNU tar, --numeric-owner)", line)
			}
			e.tag, e.id = tag[1], uint32(n)
		}
		all = append(all, e)
	}
	if len(all) <= 3 {
		return "", nil
	}
	slices.SortFunc(all, func(a, b entry) int {
		if a.tag != b.tag {
			return int(a.tag) - int(b.tag)
		}
		return int(int64(a.id) - int64(b.id))
	})
	out := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range all {
		out = binary.LittleEndian.AppendUint16(out, e.tag)
		out = binary.LittleEndian.AppendUint16(out, e.perm)
		out = binary.LittleEndian.AppendUint32(out, e.id)
	}
	return string(out), nil
}
