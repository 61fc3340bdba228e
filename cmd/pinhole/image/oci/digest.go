package oci

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"pinhole/cmd/pinhole/image/unpack"
)

// Digest names content by its hash: "sha256:" and 64 hexadecimal digits, or "sha512:" and 128.
type Digest string

// newHash returns the hash of the digest's kind, or says what is wrong with it.
func (d Digest) newHash() (hash.Hash, error) {
	algorithm, digits, _ := strings.Cut(string(d), ":")
	var h hash.Hash
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	default:
		return nil, fmt.Errorf("digest %.100q is of a kind that is not known", string(d))
	}
	if len(digits) != 2*h.Size() || strings.Trim(digits, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("digest %.200q is not one", string(d))
	}
	return h, nil
}

// path is where a layout keeps the content. The digest must have been checked.
func (d Digest) path() string { return "blobs/" + strings.Replace(string(d), ":", "/", 1) }

func digestOf(d Digest, h hash.Hash) Digest {
	algorithm, _, _ := strings.Cut(string(d), ":")
	return Digest(algorithm + ":" + hex.EncodeToString(h.Sum(nil)))
}

// MismatchError is content that does not have its digest.
type MismatchError struct {
	What      string
	Want, Got Digest
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s has digest %s, should have %s; it is damaged or was changed", e.What, e.Got, e.Want)
}

// verifier is a reader that knows at its end whether what it read was right.
type verifier struct {
	r    io.Reader
	what string
	want Digest
	h    hash.Hash
	left int64 // bytes still to come; below 0: any number
}

func newVerifier(r io.Reader, what string, want Digest, size int64) (*verifier, error) {
	h, err := want.newHash()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return &verifier{r: r, what: what, want: want, h: h, left: size}, nil
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.h.Write(p[:n])
	if err == io.EOF {
		if got := digestOf(v.want, v.h); got != v.want {
			err = &MismatchError{v.what, v.want, got}
		}
	}
	return n, err
}

// layerReader reads a layer unpacked, and verifies both what is stored and what comes out of it.
type layerReader struct {
	what   string
	file   File
	raw    io.Reader // what is stored, verified if it has a digest
	packed io.ReadCloser
	out    io.Reader
	done   bool
}

func openLayer(s Store, name, what string, stored, unpacked Digest) (io.ReadCloser, error) {
	f, err := s.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s is missing", what)
	}
	l := &layerReader{what: what, file: f, raw: f}
	if stored != "" {
		if l.raw, err = newVerifier(f, what, stored, f.Size); err != nil {
			f.Close()
			return nil, err
		}
	}
	l.packed, _, err = unpack.NewReader(l.raw)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s %w", what, err)
	}
	l.out = l.packed
	if unpacked != "" {
		if l.out, err = newVerifier(l.packed, what+", unpacked,", unpacked, -1); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

func (l *layerReader) Read(p []byte) (int, error) {
	n, err := l.out.Read(p)
	if err == io.EOF && !l.done {
		l.done = true
		// What an unpacker leaves behind the end counts, too.
		if _, e := io.Copy(io.Discard, l.raw); e != nil {
			err = e
		}
	}
	var m *MismatchError
	switch {
	case err == nil || err == io.EOF:
	case errors.As(err, &m): // whatever an unpacker made of it
		err = m
	default:
		err = fmt.Errorf("%s: %w", l.what, err)
	}
	return n, err
}

func (l *layerReader) Close() error {
	l.packed.Close()
	return l.file.Close()
}
