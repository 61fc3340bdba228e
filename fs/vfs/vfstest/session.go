package vfstest

import "pinhole/abi"

// Session is a process that does steps, lines of a script without results, one by one.
type Session struct {
	r *run
}

// NewSession returns a session of the process s, which it takes over.
func NewSession(s System) *Session { return &Session{newRun(s)} }

// Do does a step, and returns what it gives: "OK", maybe with something behind it, or the name
// of an error.
func (s *Session) Do(line string) string {
	a := split(line)
	switch a[0] {
	case "flook", "fsum", "fput", "fadd", "holes", "publish", "fdatasync", "ftruncate", "fallocate", "fsync", "drop":
		if s.r.held[a.at(1)] == nil {
			return "EBADF"
		}
	}
	return s.r.result(line)
}

// Dump is the function of the same name.
func (s *Session) Dump() ([]string, abi.Errno) { return s.r.dump() }

// Close closes what is open, and ends the process.
func (s *Session) Close() { s.r.close() }
