// Package oci reads container images from files: an OCI image layout (a directory, or a tar archive of
// one), and the archives that "docker save" makes. Everything that has a digest is verified while it is
// read. No registry is asked for anything.
//
// Sources: the OCI Image Format Specification 1.1 (image-layout, image index, manifest, config), and for
// docker archives Docker's image specification 1.2, "Combined Image JSON + Filesystem Changeset Format".
package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Kind is how a store holds images.
type Kind uint8

// Kinds. A store that is both, as newer docker archives are, is a Layout.
const (
	None Kind = iota
	Layout
	DockerArchive
)

// Recognize tells what a store holds.
func Recognize(s Store) Kind {
	switch {
	case has(s, "index.json") && has(s, "oci-layout"):
		return Layout
	case has(s, "manifest.json"):
		// Any directory may have such a file: what docker writes is a list of images.
		if p, err := readAll(s, "manifest.json"); err == nil {
			var list []dockerImage
			if json.Unmarshal(p, &list) == nil && len(list) > 0 && list[0].Config != "" {
				return DockerArchive
			}
		}
	}
	return None
}

// MayHold tells by the name of an archive's first entry whether the archive may hold an image, so that it
// is worth looking at all of it.
func MayHold(first string) bool {
	first = clean(first)
	top, _, _ := strings.Cut(first, "/")
	isHex := func(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }
	switch {
	case top == "blobs", top == "oci-layout", top == "index.json", top == "manifest.json", top == "repositories", top == "":
		return true
	}
	return isHex(top) || isHex(strings.TrimSuffix(top, path.Ext(top)))
}

// Choice says which image is wanted if there are several.
type Choice struct {
	Ref      string // name or tag; "" for the only one
	Platform string // "os/architecture" or "os/architecture/variant"
}

// Image is a container image.
type Image struct {
	Ref      string // "" if it has no name
	Platform string
	Config   Config
	// RawConfig is the whole configuration document.
	RawConfig []byte
	Layers    []Layer // the lowest first
}

// Config is what an image says about how to run it.
type Config struct {
	User         string
	Env          []string
	Entrypoint   []string
	Cmd          []string
	WorkingDir   string
	ExposedPorts map[string]struct{}
	Volumes      map[string]struct{}
	Labels       map[string]string
	StopSignal   string
}

// Layer is a tar archive of changes.
type Layer struct {
	What   string // for messages: "layer 2 of 3 (sha256:...)"
	Size   int64  // as stored, in bytes
	store  Store
	name   string
	stored Digest // "" if the store has none
	diffID Digest
}

// Open returns the layer's archive, unpacked. Its end is an error (a *MismatchError) if a digest is wrong.
func (l *Layer) Open() (io.ReadCloser, error) {
	return openLayer(l.store, l.name, l.What, l.stored, l.diffID)
}

// Verify reads what is stored of the layer, and returns a *MismatchError if it is not what it should be.
func (l *Layer) Verify() error {
	var r io.Reader
	if l.stored == "" {
		stream, err := l.Open()
		if err != nil {
			return err
		}
		defer stream.Close()
		r = stream
	} else {
		f, err := l.store.Open(l.name)
		if err != nil {
			return err
		}
		defer f.Close()
		if r, err = newVerifier(f, l.What, l.stored, f.Size); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, r)
	return err
}

// configFile is the configuration document.
type configFile struct {
	Architecture string
	OS           string
	Variant      string
	Config       Config
	RootFS       struct {
		Type    string
		DiffIDs []Digest `json:"diff_ids"`
	}
}

func (c *configFile) platform() string { return platformString(c.OS, c.Architecture, c.Variant) }

func platformString(os, arch, variant string) string {
	s := os + "/" + arch
	if variant != "" {
		s += "/" + variant
	}
	return s
}

// matches tells whether an image of the platform have is one for want.
func matches(have, want string) bool {
	return want == "" || have == want || strings.HasPrefix(have, want+"/")
}

// maxLayers bounds what is held for an image.
const maxLayers = 10_000

// Open finds the image in a store.
func Open(s Store, c Choice) (*Image, error) {
	switch Recognize(s) {
	case Layout:
		return openLayout(s, c)
	case DockerArchive:
		return openDocker(s, c)
	}
	return nil, errors.New("has no container image: neither index.json and oci-layout, nor manifest.json")
}

// configure reads the configuration document into im and puts its digests to the layers.
func (im *Image) configure(p []byte) error {
	var c configFile
	if err := json.Unmarshal(p, &c); err != nil {
		return fmt.Errorf("the image's configuration cannot be read: %w", err)
	}
	im.Config, im.RawConfig, im.Platform = c.Config, p, c.platform()
	if c.RootFS.Type != "" && c.RootFS.Type != "layers" {
		return fmt.Errorf("the image's file system is of type %.50q, which is not known", c.RootFS.Type)
	}
	if n := len(c.RootFS.DiffIDs); n != len(im.Layers) {
		return fmt.Errorf("the image has %d layers, but its configuration speaks of %d", len(im.Layers), n)
	}
	for i, d := range c.RootFS.DiffIDs {
		if _, err := d.newHash(); err != nil {
			return fmt.Errorf("the image's configuration: %w", err)
		}
		im.Layers[i].diffID = d
	}
	return nil
}

// name gives the layers what messages call them.
func (im *Image) name() {
	for i := range im.Layers {
		l := &im.Layers[i]
		id := string(l.stored)
		if id == "" {
			id = string(l.diffID)
		}
		l.What = fmt.Sprintf("layer %d of %d (%.19s...)", i+1, len(im.Layers), id)
	}
}

// pick returns the only candidate, or says what there is.
func pick[T any](all []T, c Choice, ref, platform func(T) string) (T, error) {
	var none T
	list := func(of []T, f func(T) string) string {
		var names []string
		for _, x := range of {
			if n := f(x); n != "" && !slices.Contains(names, n) && len(names) < 20 {
				names = append(names, fmt.Sprintf("%.100s", n))
			}
		}
		if len(names) == 0 {
			return "ones without a name"
		}
		return strings.Join(names, ", ")
	}
	if len(all) == 0 {
		return none, errors.New("there is no image in it")
	}
	named := all
	if c.Ref != "" {
		named = nil
		for _, x := range all {
			if sameRef(ref(x), c.Ref) {
				named = append(named, x)
			}
		}
		if len(named) == 0 {
			return none, fmt.Errorf("there is no image %s; there are %s", c.Ref, list(all, ref))
		}
	}
	var fit []T
	for _, x := range named {
		if matches(platform(x), c.Platform) {
			fit = append(fit, x)
		}
	}
	switch {
	case len(fit) == 0:
		return none, fmt.Errorf("there is no image for %s, but for %s; choose with --platform", c.Platform, list(named, platform))
	case len(fit) > 1 && c.Ref == "":
		return none, fmt.Errorf("there are several images: %s; choose one with --ref", list(fit, ref))
	}
	return fit[0], nil
}

// sameRef tells whether an image called name is meant by ref: by all of it, by its tag, or without a
// registry's host.
func sameRef(name, ref string) bool {
	if name == ref || strings.HasSuffix(name, "/"+ref) {
		return true
	}
	i := strings.LastIndexByte(name, ':')
	return i >= 0 && (name[i+1:] == ref || name[i+1:] == "latest" && (name[:i] == ref || strings.HasSuffix(name[:i], "/"+ref)))
}
