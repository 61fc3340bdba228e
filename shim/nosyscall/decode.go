package nosyscall

import "encoding/binary"

// entering returns the offsets of the instructions in code, which begins with one, that enter a
// host kernel. It goes from instruction to instruction; where bytes are none, it goes on with the next.
func entering(code []byte) []int {
	var found []int
	for at := 0; at < len(code); {
		n := length(code[at:])
		if n == 0 {
			at++
			continue
		}
		if enters(code[at : at+n]) {
			found = append(found, at)
		}
		at += n
	}
	return found
}

// enters tells whether an instruction is syscall, sysenter or int 0x80.
func enters(b []byte) bool {
	for len(b) > 2 && prefix(b[0]) {
		b = b[1:]
	}
	return len(b) == 2 && (b[0] == 0x0f && (b[1] == 0x05 || b[1] == 0x34) || b[0] == 0xcd && b[1] == 0x80)
}

// prefix tells whether a byte before an opcode is a prefix: legacy or REX.
func prefix(b byte) bool {
	switch b {
	case 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3:
		return true
	}
	return b&0xf0 == 0x40
}

// What follows an opcode.
type form uint16

const (
	bad     form = 1 << iota // no instruction of 64-bit mode
	modrm                    // a ModRM byte and what it asks for
	imm8                     // immediate of a byte
	imm16                    // of two
	immZ                     // of four, or two with the operand size prefix
	imm32                    // of four
	immV                     // as immZ, but of eight with REX.W
	address                  // an address of eight bytes, or four with the address size prefix
	group3                   // an immediate as the opcode says, but only if ModRM's reg is 0 or 1
)

// maps of opcodes (Intel SDM volume 2, appendix A): one byte, and those behind 0f.
var oneByte, twoByte = opcodes()

func opcodes() (one, two [256]form) {
	set := func(m *[256]form, f form, from, to int) {
		for i := from; i <= to; i++ {
			m[i] = f
		}
	}
	for i := 0; i < 0x40; i += 8 {
		set(&one, modrm, i, i+3)
		one[i+4], one[i+5], one[i+6], one[i+7] = imm8, immZ, bad, bad
	}
	set(&one, bad, 0x60, 0x62)
	one[0x63], one[0x68], one[0x69], one[0x6a], one[0x6b] = modrm, immZ, modrm|immZ, imm8, modrm|imm8
	set(&one, imm8, 0x70, 0x7f)
	one[0x80], one[0x81], one[0x82], one[0x83] = modrm|imm8, modrm|immZ, bad, modrm|imm8
	set(&one, modrm, 0x84, 0x8f)
	one[0x9a] = bad
	set(&one, address, 0xa0, 0xa3)
	one[0xa8], one[0xa9] = imm8, immZ
	set(&one, imm8, 0xb0, 0xb7)
	set(&one, immV, 0xb8, 0xbf)
	one[0xc0], one[0xc1], one[0xc2], one[0xc6], one[0xc7] = modrm|imm8, modrm|imm8, imm16, modrm|imm8, modrm|immZ
	one[0xc8], one[0xca], one[0xcd], one[0xce] = imm16|imm8, imm16, imm8, bad
	set(&one, modrm, 0xd0, 0xd3)
	set(&one, bad, 0xd4, 0xd6)
	set(&one, modrm, 0xd8, 0xdf)
	set(&one, imm8, 0xe0, 0xe7)
	one[0xe8], one[0xe9], one[0xea], one[0xeb] = imm32, imm32, bad, imm8
	one[0xf6], one[0xf7], one[0xfe], one[0xff] = modrm|imm8|group3, modrm|immZ|group3, modrm, modrm

	set(&two, modrm, 0, 0xff)
	two[0x04], two[0x0a], two[0x0c] = bad, bad, bad
	for _, i := range []int{0x05, 0x06, 0x07, 0x08, 0x09, 0x0b, 0x0e, 0x77, 0xa0, 0xa1, 0xa2, 0xa8, 0xa9, 0xaa} {
		two[i] = 0
	}
	set(&two, bad, 0x24, 0x27)
	set(&two, 0, 0x30, 0x37)
	set(&two, 0, 0xc8, 0xcf)
	set(&two, imm32, 0x80, 0x8f)
	for _, i := range []int{0x0f, 0x70, 0x71, 0x72, 0x73, 0xa4, 0xac, 0xba, 0xc2, 0xc4, 0xc5, 0xc6} {
		two[i] |= imm8
	}
	return one, two
}

// length returns how many bytes the instruction at the start of b has, 0 if there is none.
func length(b []byte) int {
	var narrow, short, wide bool // operand size prefix, address size prefix, REX.W
	at := 0
	for at < len(b) && prefix(b[at]) {
		narrow = narrow || b[at] == 0x66
		short = short || b[at] == 0x67
		wide = b[at]&0xf8 == 0x48 // the last one only
		at++
	}
	byteAt := func(i int) byte {
		if i < len(b) {
			return b[i]
		}
		return 0
	}
	var f form
	switch op := byteAt(at); op {
	case 0x0f:
		switch at++; byteAt(at) {
		case 0x38:
			at++
			f = modrm
		case 0x3a:
			at++
			f = modrm | imm8
		default:
			f = twoByte[byteAt(at)]
		}
	case 0xc5:
		at += 2
		f = vector(1, byteAt(at))
	case 0xc4:
		f = vector(byteAt(at+1)&0x1f, byteAt(at+3))
		at += 3
	case 0x62:
		f = vector(byteAt(at+1)&7, byteAt(at+4))
		at += 4
	default:
		f = oneByte[op]
	}
	at++
	if f&bad != 0 {
		return 0
	}
	if f&modrm != 0 {
		m := byteAt(at)
		at++
		if f&group3 != 0 && m>>3&7 > 1 {
			f = modrm
		}
		mod, rm := m>>6, m&7
		if mod != 3 && rm == 4 {
			if s := byteAt(at); mod == 0 && s&7 == 5 {
				at += 4
			}
			at++
		}
		switch {
		case mod == 1:
			at++
		case mod == 2, mod == 0 && rm == 5:
			at += 4
		}
	}
	for _, part := range []struct {
		form form
		n    int
	}{
		{imm8, 1}, {imm16, 2}, {imm32, 4},
		{immZ, pick(narrow && !wide, 2, 4)},
		{immV, pick(wide, 8, pick(narrow, 2, 4))},
		{address, pick(short, 4, 8)},
	} {
		if f&part.form != 0 {
			at += part.n
		}
	}
	if at > len(b) || at > 15 {
		return 0
	}
	return at
}

// vector is the form of an instruction with a VEX or EVEX prefix, by the number of its map.
func vector(table, op byte) form {
	switch {
	case table == 1 && op == 0x77:
		return 0
	case table == 1:
		return modrm | twoByte[op]&imm8
	case table == 3:
		return modrm | imm8
	case table == 0 || table == 4 || table > 7:
		return bad
	}
	return modrm
}

func pick(c bool, a, b int) int {
	if c {
		return a
	}
	return b
}

// functions returns where Go's table of functions (.gopclntab, since Go 1.20) has functions begin, as offsets
// into the text section, ascending; nil if it is no such table.
func functions(table []byte, text int) []int {
	const header = 8 + 8*8
	le := binary.LittleEndian
	if len(table) < header || le.Uint32(table) != 0xfffffff1 || table[7] != 8 {
		return nil
	}
	n, at := le.Uint64(table[8:]), le.Uint64(table[8+7*8:])
	if at > uint64(len(table)) || n > (uint64(len(table))-at)/8 {
		return nil
	}
	starts := make([]int, 0, n)
	for i := range n {
		start := int(le.Uint32(table[at+8*i:]))
		if start > text || len(starts) > 0 && start < starts[len(starts)-1] {
			return nil
		}
		starts = append(starts, start)
	}
	return starts
}
