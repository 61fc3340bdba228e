// Package control is what supervisor and sandbox tell each other over their two pipes: the
// configuration that the sandbox starts with, and small frames in both directions after it.
//
// The sandbox believes the supervisor. The supervisor believes nothing: frames have a
// bounded length, and text is cleaned before a person sees it.
package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Config is everything a sandbox is told before it starts.
type Config struct {
	Program string   // path in the image
	Args    []string // argv, the program's name included
	Env     []string // "NAME=value"
	Cwd     string   // absolute, in the image
	UID     uint32
	GID     uint32

	Image      string // the image's name, for messages
	ImageBytes int64  // its size; the descriptor is mapped whole
	ReadOnly   bool   // the file system is mounted read-only
	Ephemeral  bool   // changes of the image stay in the sandbox's memory, and end with it
	RAMBytes   int64  // size of the guest RAM memfd
	CacheBytes int64  // the part of it, from 0, that is the buffer cache's
	Memory     int64  // most that guests may have, in bytes

	CPUs        int64  // processors the sandbox may use at once
	HostThreads int64  // host threads for guests; 0: chosen by the machine
	Hostname    string // what uname tells

	// Layers of package launch: those in force from the start, and those without which the sandbox must not run.
	Started, Require uint32

	Terminal [3]bool // stdin, stdout, stderr are a terminal at the other end
	Settings string  // the terminal's, the 36 bytes of the kernel's struct termios; empty: none
	Rows     int64   // its size in characters
	Cols     int64
	Trace    bool // send a line for each call

	TSCHz int64 // frequency of the time stamp counter, 0: the vDSO needs no help
}

// EphemeralBytes is how much of an ephemeral image may change.
func (c *Config) EphemeralBytes() int64 { return c.Memory / 2 }

// fields lists every field once, in the order of the wire, for encoding and decoding alike.
func (c *Config) fields(x codec) {
	x.text(&c.Program)
	x.list(&c.Args)
	x.list(&c.Env)
	x.text(&c.Cwd)
	x.word(&c.UID)
	x.word(&c.GID)
	x.text(&c.Image)
	x.number(&c.ImageBytes)
	x.flag(&c.ReadOnly)
	x.flag(&c.Ephemeral)
	x.number(&c.RAMBytes)
	x.number(&c.CacheBytes)
	x.number(&c.Memory)
	x.number(&c.CPUs)
	x.number(&c.HostThreads)
	x.text(&c.Hostname)
	x.word(&c.Started)
	x.word(&c.Require)
	for i := range c.Terminal {
		x.flag(&c.Terminal[i])
	}
	x.text(&c.Settings)
	x.number(&c.Rows)
	x.number(&c.Cols)
	x.flag(&c.Trace)
	x.number(&c.TSCHz)
}

// A configuration travels as a header of 16 bytes (magic, version, length of the body, all little-endian)
// and a body of at most MaxConfig bytes: the fields in order, integers as 8 bytes, flags as one, text as a
// 4-byte length and its bytes, lists as a 4-byte count and their texts.
const (
	configMagic   = 0x4d524f46434e4950 // "PINCFORM"
	configVersion = 3
	configHeader  = 16

	// MaxConfig bounds arguments, environment and the rest together, in bytes.
	MaxConfig = 4 << 20
)

// Send writes the configuration to w.
func (c *Config) Send(w io.Writer) error {
	e := &encoder{b: make([]byte, configHeader, 1024)}
	c.fields(e)
	n := len(e.b) - configHeader
	if n > MaxConfig {
		return fmt.Errorf("arguments and environment of %d bytes are too long (at most %d)", n, MaxConfig)
	}
	binary.LittleEndian.PutUint64(e.b, configMagic)
	binary.LittleEndian.PutUint32(e.b[8:], configVersion)
	binary.LittleEndian.PutUint32(e.b[12:], uint32(n))
	_, err := w.Write(e.b)
	return err
}

// Receive reads a configuration that Send wrote.
func (c *Config) Receive(r io.Reader) error {
	var h [configHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return fmt.Errorf("no configuration: %w", err)
	}
	if binary.LittleEndian.Uint64(h[:]) != configMagic {
		return errors.New("no configuration: this program is started by pinhole, not by hand")
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != configVersion {
		return fmt.Errorf("configuration of version %d, this kernel knows %d: pinhole and pinhole-kernel are not of one build", v, configVersion)
	}
	n := binary.LittleEndian.Uint32(h[12:])
	if n > MaxConfig {
		return errors.New("configuration is too long")
	}
	d := &decoder{b: make([]byte, n)}
	if _, err := io.ReadFull(r, d.b); err != nil {
		return fmt.Errorf("configuration ends early: %w", err)
	}
	c.fields(d)
	if d.bad || len(d.b) != 0 {
		return errors.New("configuration is garbled: pinhole and pinhole-kernel are not of one build")
	}
	return nil
}

// codec visits the fields of a Config.
type codec interface {
	text(*string)
	list(*[]string)
	number(*int64)
	word(*uint32)
	flag(*bool)
}

type encoder struct{ b []byte }

func (e *encoder) text(s *string) {
	e.b = binary.LittleEndian.AppendUint32(e.b, uint32(len(*s)))
	e.b = append(e.b, *s...)
}

func (e *encoder) list(l *[]string) {
	e.b = binary.LittleEndian.AppendUint32(e.b, uint32(len(*l)))
	for i := range *l {
		e.text(&(*l)[i])
	}
}

func (e *encoder) number(n *int64) { e.b = binary.LittleEndian.AppendUint64(e.b, uint64(*n)) }
func (e *encoder) word(n *uint32)  { e.b = binary.LittleEndian.AppendUint32(e.b, *n) }

func (e *encoder) flag(f *bool) {
	if *f {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

type decoder struct {
	b   []byte // what is left
	bad bool   // it ended early, or holds what cannot be
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return make([]byte, min(n, 8))
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) text(s *string) {
	var n uint32
	d.word(&n)
	if int64(n) > int64(len(d.b)) {
		d.bad = true
		return
	}
	*s = string(d.take(int(n)))
}

func (d *decoder) list(l *[]string) {
	var n uint32
	d.word(&n)
	if int64(n)*4 > int64(len(d.b)) { // each text takes four bytes at least
		d.bad = true
		return
	}
	*l = nil
	for range n {
		var s string
		d.text(&s)
		*l = append(*l, s)
	}
}

func (d *decoder) number(n *int64) { *n = int64(binary.LittleEndian.Uint64(d.take(8))) }
func (d *decoder) word(n *uint32)  { *n = binary.LittleEndian.Uint32(d.take(4)) }

func (d *decoder) flag(f *bool) {
	b := d.take(1)[0]
	*f = b == 1
	d.bad = d.bad || b > 1
}
