package spec

import (
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads a text. name is the file's name in errors; the first thing wrong ends it with an
// *Error.
func Parse(name string, text []byte) (*File, error) {
	p := &parser{name: name, out: &File{}}
	if err := p.parse(text); err != nil {
		return nil, err
	}
	return p.out, nil
}

type parser struct {
	name string
	out  *File
	line int // number of the line being read

	seenVersion bool
	doc         *[]string    // where prose of the current directive goes
	errs        *[]CallError // where its errors go; nil: it has none
	uses        *[]string    // where its sets go; nil: it has none
	newPar      bool         // the next line of prose starts a paragraph
	errIndent   int          // indentation of the error that deeper lines continue, 0: none
}

func (p *parser) fail(col int, msg string) error {
	return &Error{File: p.name, Pos: Pos{p.line, col}, Msg: msg}
}

func (p *parser) parse(text []byte) error {
	p.line = 1
	if !utf8.Valid(text) {
		return p.fail(1, "the text is not UTF-8")
	}
	lines := strings.Split(string(text), "\n")
	for i, l := range lines {
		p.line = i + 1
		if at := strings.IndexFunc(l, func(r rune) bool { return r < ' ' || r == 0x7f }); at >= 0 {
			return p.fail(at+1, "tabs and control characters are not allowed")
		}
		body := strings.TrimLeft(l, " ")
		indent := len(l) - len(body)
		body = strings.TrimRight(body, " ")
		var err error
		switch {
		case body == "":
			p.newPar, p.errIndent = true, 0
		case body[0] == '#':
		case indent > 0:
			err = p.continuation(indent, body)
		default:
			err = p.directive(body)
		}
		if err != nil {
			return err
		}
	}
	if !p.seenVersion {
		p.line = 1
		return p.fail(1, `no "abi VERSION" line`)
	}
	return p.check()
}

// continuation reads an indented line of the current directive.
func (p *parser) continuation(indent int, body string) error {
	if p.doc == nil {
		return p.fail(indent+1, "an indented line belongs to no directive")
	}
	if p.errIndent > 0 && indent > p.errIndent {
		last := &(*p.errs)[len(*p.errs)-1]
		last.Text += " " + body
		return nil
	}
	p.errIndent = 0
	s := p.scan(indent+1, body)
	word := s.word()
	if isErrno(word) && s.accept(":") {
		if p.errs == nil {
			return p.fail(indent+1, "this directive has no errors")
		}
		s.blanks()
		if s.done() {
			return p.fail(s.col(), "when does "+word+" come?")
		}
		*p.errs = append(*p.errs, CallError{Name: word, Text: s.rest(), Pos: Pos{p.line, indent + 1}})
		p.errIndent, p.newPar = indent, true
		return nil
	}
	if set := s.rest(); word == "errors" && p.uses != nil && len(strings.Fields(set)) == 1 && set[0] == ' ' {
		*p.uses = append(*p.uses, strings.TrimSpace(set))
		p.newPar = true
		return nil
	}
	if p.newPar || len(*p.doc) == 0 {
		*p.doc = append(*p.doc, body)
	} else {
		(*p.doc)[len(*p.doc)-1] += " " + body
	}
	p.newPar = false
	return nil
}

// directive reads a line that starts in the first column.
func (p *parser) directive(body string) error {
	p.doc, p.errs, p.uses, p.newPar, p.errIndent = nil, nil, nil, false, 0
	s := p.scan(1, body)
	word := s.word()
	if !p.seenVersion && word != "abi" {
		return p.fail(1, `the first directive must be "abi VERSION"`)
	}
	pos := Pos{p.line, 1}
	switch word {
	case "abi":
		if p.seenVersion {
			return p.fail(1, "the version is stated twice")
		}
		n, err := s.number("a version", 1<<31-1)
		if err != nil {
			return err
		}
		if n == 0 {
			return p.fail(5, "versions count from 1")
		}
		p.seenVersion, p.out.Version = true, n
		return s.end()
	case "feature":
		f := Feature{Pos: pos}
		var err error
		if f.Name, err = s.name("a feature's name"); err == nil {
			f.Bit, err = s.number("a bit number", MaxFeature)
		}
		if err == nil {
			err = s.end()
		}
		p.out.Features = append(p.out.Features, f)
		p.doc = &p.out.Features[len(p.out.Features)-1].Doc
		return err
	case "noun":
		n := Noun{Pos: pos}
		var err error
		if n.Name, err = s.name("a noun"); err != nil {
			return err
		}
		if strings.Contains(n.Name, "_") {
			return p.fail(6, `a noun has no "_"`)
		}
		s.blanks()
		if n.Title = s.rest(); n.Title == "" {
			return p.fail(s.col(), "expected a title")
		}
		p.out.Nouns = append(p.out.Nouns, n)
		p.doc = &p.out.Nouns[len(p.out.Nouns)-1].Doc
		return nil
	case "errors":
		e := ErrorSet{Pos: pos}
		var err error
		if e.Name, err = s.name("a name"); err == nil {
			err = s.end()
		}
		p.out.Sets = append(p.out.Sets, e)
		set := &p.out.Sets[len(p.out.Sets)-1]
		p.doc, p.errs = &set.Doc, &set.Errors
		return err
	case "retired":
		r := Retired{Pos: pos}
		var err error
		if r.Number, err = s.number("a call number", MaxCall); err == nil {
			r.Name, err = s.name("a call's name")
		}
		if err == nil {
			err = s.end()
		}
		p.out.Retired = append(p.out.Retired, r)
		p.doc = &p.out.Retired[len(p.out.Retired)-1].Doc
		return err
	case "call":
		c := Call{Pos: pos}
		if err := s.call(&c); err != nil {
			return err
		}
		p.out.Calls = append(p.out.Calls, c)
		last := &p.out.Calls[len(p.out.Calls)-1]
		p.doc, p.errs, p.uses = &last.Doc, &last.Errors, &last.Uses
		return nil
	}
	return p.fail(1, "unknown directive "+strconv.Quote(word))
}

// check is what only the whole text can tell.
func (p *parser) check() error {
	at := func(pos Pos, msg string) error { return &Error{File: p.name, Pos: pos, Msg: msg} }

	bits, features := map[int]bool{}, map[string]bool{}
	for _, f := range p.out.Features {
		if bits[f.Bit] || features[f.Name] {
			return at(f.Pos, "bit or name of feature "+f.Name+" is taken")
		}
		bits[f.Bit], features[f.Name] = true, true
	}
	nouns := map[string]bool{}
	for _, n := range p.out.Nouns {
		if nouns[n.Name] {
			return at(n.Pos, "noun "+n.Name+" is there twice")
		}
		nouns[n.Name] = true
	}
	sets := map[string]bool{}
	for _, s := range p.out.Sets {
		if sets[s.Name] {
			return at(s.Pos, "error set "+s.Name+" is there twice")
		}
		sets[s.Name] = true
	}
	numbers, names := map[int]bool{}, map[string]bool{}
	for _, r := range p.out.Retired {
		if numbers[r.Number] || names[r.Name] {
			return at(r.Pos, "number or name of retired call "+r.Name+" is there twice")
		}
		numbers[r.Number], names[r.Name] = true, true
	}
	last := -1
	open := map[string]bool{}   // Linux names with a mapping that has no guard
	guards := map[string]bool{} // and with their guard
	for i := range p.out.Calls {
		c := &p.out.Calls[i]
		switch {
		case numbers[c.Number]:
			return at(c.Pos, "number "+strconv.Itoa(c.Number)+" is taken; numbers are never reused")
		case names[c.Name]:
			return at(c.Pos, "name "+c.Name+" is taken; names are never reused")
		case c.Number < last:
			return at(c.Pos, "numbers must ascend")
		case noun(c.Name) == c.Name:
			return at(c.Pos, "a call's name is noun_verb")
		case !nouns[c.Noun()]:
			return at(c.Pos, "noun "+c.Noun()+" is not declared")
		}
		last = c.Number
		numbers[c.Number], names[c.Name] = true, true
		for _, use := range c.Uses {
			if !sets[use] {
				return at(c.Pos, "error set "+use+" is not declared")
			}
		}
		for _, m := range c.Linux {
			if m.Args != nil && len(m.Args) != len(c.Args) {
				return at(m.Pos, "the mapping must give each of the call's arguments")
			}
			key := m.Linux
			if g := m.Guard; g != nil {
				key += "[" + strconv.Itoa(g.Arg) + "=" + g.Equal.String() + "]"
			}
			if open[m.Linux] || guards[key] || m.Guard == nil && guards[m.Linux] {
				return at(m.Pos, "Linux call "+m.Linux+" is mapped twice")
			}
			if m.Guard == nil {
				open[m.Linux] = true
			} else {
				guards[key], guards[m.Linux] = true, true
			}
		}
	}
	return nil
}

func noun(name string) string {
	n, _, _ := strings.Cut(name, "_")
	return n
}

func isErrno(s string) bool {
	if len(s) < 3 || s[0] != 'E' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func sortErrors(e []CallError) {
	sort.SliceStable(e, func(i, j int) bool { return e[i].Name < e[j].Name })
}
