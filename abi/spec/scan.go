package spec

import (
	"strconv"
	"strings"
)

// scanner reads one line.
type scanner struct {
	p     *parser
	start int // column of text[0]
	text  string
	at    int
}

func (p *parser) scan(col int, text string) *scanner { return &scanner{p: p, start: col, text: text} }

func (s *scanner) col() int     { return s.start + s.at }
func (s *scanner) rest() string { return s.text[s.at:] }
func (s *scanner) done() bool   { return s.at == len(s.text) }

func (s *scanner) blanks() {
	for s.at < len(s.text) && s.text[s.at] == ' ' {
		s.at++
	}
}

func (s *scanner) fail(msg string) error {
	if s.done() {
		return s.p.fail(s.col(), msg+", found the end of the line")
	}
	return s.p.fail(s.col(), msg+", found "+strconv.Quote(s.text[s.at:min(len(s.text), s.at+12)]))
}

// accept skips blanks and then lit, if it is there.
func (s *scanner) accept(lit string) bool {
	was := s.at
	s.blanks()
	if strings.HasPrefix(s.rest(), lit) {
		s.at += len(lit)
		return true
	}
	s.at = was
	return false
}

func (s *scanner) expect(lit string) error {
	if !s.accept(lit) {
		s.blanks()
		return s.fail("expected " + strconv.Quote(lit))
	}
	return nil
}

func (s *scanner) end() error {
	s.blanks()
	if !s.done() {
		return s.fail("expected the end of the line")
	}
	return nil
}

// word reads letters, digits and "_", none if there is something else.
func (s *scanner) word() string {
	s.blanks()
	from := s.at
	for s.at < len(s.text) {
		c := s.text[s.at]
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			break
		}
		s.at++
	}
	return s.text[from:s.at]
}

// name reads a name in snake_case.
func (s *scanner) name(what string) (string, error) {
	s.blanks()
	from := s.at
	w := s.word()
	ok := w != "" && w[0] >= 'a' && w[0] <= 'z' && w[len(w)-1] != '_' && !strings.Contains(w, "__") && w == strings.ToLower(w)
	if !ok {
		s.at = from
		return "", s.fail("expected " + what)
	}
	return w, nil
}

// number reads a decimal number of at most max.
func (s *scanner) number(what string, max int) (int, error) {
	s.blanks()
	from := s.at
	w := s.word()
	n, err := strconv.ParseUint(w, 10, 31)
	if err != nil || n > uint64(max) || len(w) > 1 && w[0] == '0' {
		s.at = from
		return 0, s.fail("expected " + what + " of at most " + strconv.Itoa(max))
	}
	return int(n), nil
}

// call reads what follows "call".
func (s *scanner) call(c *Call) error {
	var err error
	if c.Number, err = s.number("a call number", MaxCall); err != nil {
		return err
	}
	if c.Name, err = s.name("a call's name"); err != nil {
		return err
	}
	if err := s.args(c); err != nil {
		return err
	}
	if err := s.expect("->"); err != nil {
		return err
	}
	s.blanks()
	from := s.at
	c.Result = Type(s.word())
	if c.Result != None && c.Result != Never && (c.Result.Go() == "" || c.Result == Path) {
		s.at = from
		return s.fail("expected a type of result")
	}
	for s.blanks(); !s.done(); {
		m := Mapping{Pos: Pos{s.p.line, s.col()}}
		if w := s.word(); w != "linux" {
			s.at -= len(w)
			return s.fail(`expected "linux"`)
		}
		if err := s.mapping(&m); err != nil {
			return err
		}
		c.Linux = append(c.Linux, m)
		if s.blanks(); s.done() {
			break
		}
		if err := s.expect(";"); err != nil {
			return err
		}
		if s.blanks(); s.done() {
			return s.fail(`expected "linux"`)
		}
	}
	return nil
}

func (s *scanner) args(c *Call) error {
	if err := s.expect("("); err != nil {
		return err
	}
	if s.accept(")") {
		return nil
	}
	for {
		name, err := s.name("an argument's name")
		if err != nil {
			return err
		}
		for _, a := range c.Args {
			if a.Name == name {
				s.at -= len(name)
				return s.fail("argument named twice")
			}
		}
		if err := s.expect(":"); err != nil {
			return err
		}
		s.blanks()
		from := s.at
		t := Type(s.word())
		if t.Go() == "" {
			s.at = from
			return s.fail("expected a type of argument")
		}
		if len(c.Args) == MaxArgs {
			s.at = from
			return s.fail("a call has at most six arguments")
		}
		c.Args = append(c.Args, Arg{Name: name, Type: t})
		if s.accept(")") {
			return nil
		}
		if err := s.expect(","); err != nil {
			return err
		}
	}
}

func (s *scanner) mapping(m *Mapping) error {
	s.blanks()
	from := s.at
	m.Linux = s.word() // may start with "_": _sysctl
	if m.Linux == "" {
		s.at = from
		return s.fail("expected the name of a Linux call")
	}
	if s.accept("[") {
		g := &Guard{}
		s.blanks()
		if !s.accept("$") {
			return s.fail("expected an argument of the Linux call")
		}
		var err error
		if g.Arg, err = s.number("an argument's number", MaxArgs-1); err != nil {
			return err
		}
		if err := s.expect("="); err != nil {
			return err
		}
		if g.Equal, err = s.operand(); err != nil {
			return err
		}
		if g.Equal.Arg >= 0 {
			return s.fail("expected a constant before this")
		}
		if err := s.expect("]"); err != nil {
			return err
		}
		m.Guard = g
	}
	if !s.accept("(") {
		return nil
	}
	m.Args = []Operand{}
	if s.accept(")") {
		return nil
	}
	for {
		o, err := s.operand()
		if err != nil {
			return err
		}
		if len(m.Args) == MaxArgs {
			return s.fail("a call has at most six arguments")
		}
		m.Args = append(m.Args, o)
		if s.accept(")") {
			return nil
		}
		if err := s.expect(","); err != nil {
			return err
		}
	}
}

// operand reads $N, a constant's name, or an integer.
func (s *scanner) operand() (Operand, error) {
	s.blanks()
	from := s.at
	if s.accept("$") {
		n, err := s.number("an argument's number", MaxArgs-1)
		return Operand{Arg: n}, err
	}
	neg := s.accept("-")
	w := s.word()
	if w != "" && w[0] >= 'A' && w[0] <= 'Z' && !neg {
		return Operand{Arg: -1, Name: w}, nil
	}
	v, err := strconv.ParseInt(w, 0, 64)
	if err != nil || strings.Contains(w, "_") {
		s.at = from
		return Operand{}, s.fail("expected $N, a constant or an integer")
	}
	if neg {
		v = -v
	}
	return Operand{Arg: -1, Value: v}, nil
}

// String returns the operand as the text has it.
func (o Operand) String() string {
	switch {
	case o.Arg >= 0:
		return "$" + strconv.Itoa(o.Arg)
	case o.Name != "":
		return o.Name
	}
	return strconv.FormatInt(o.Value, 10)
}
