package guest

import (
	"regexp"
	"strings"
)

// Assembly of others is changed as it is assembled, whatever module it comes from: each SYSCALL
// instruction becomes a call of the gate that keeps the registers that SYSCALL keeps. The
// assembler takes care of what that does to a function's frame.
const linuxCall = "CALL runtime·pinholeLinuxCall(SB)"

// enteringForms are SYSCALL as an instruction, alone or among others on a line of a macro, and as bytes.
var enteringForms = []*regexp.Regexp{
	regexp.MustCompile(`(?m)(^|[;:])([ \t]*)SYSCALL([ \t]*(?:$|[;\\]|//|/\*))`),
	regexp.MustCompile(`(?mi)(^|[;:])([ \t]*)BYTE[ \t]+\$0x0*f[ \t]*[;\n][ \t]*BYTE[ \t]+\$0x0*5([ \t]*(?:$|[;\\]|//|/\*))`),
	regexp.MustCompile(`(?mi)(^|[;:])([ \t]*)WORD[ \t]+\$0x0*50f([ \t]*(?:$|[;\\]|//|/\*))`),
}

// ChangeAssembly changes a file of Go assembly so that it calls the gate where it enters a kernel. It
// reports whether it does. Lines keep their numbers.
func ChangeAssembly(text string) (string, bool) {
	changed := false
	for _, form := range enteringForms {
		text = form.ReplaceAllStringFunc(text, func(s string) string {
			changed = true
			m := form.FindStringSubmatch(s)
			return m[1] + strings.Repeat("\n", strings.Count(s, "\n")) + m[2] + linuxCall + m[3]
		})
	}
	return text, changed
}
