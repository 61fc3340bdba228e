package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Media types of documents.
const (
	typeIndex      = "application/vnd.oci.image.index.v1+json"
	typeManifest   = "application/vnd.oci.image.manifest.v1+json"
	typeDockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeDockerV2   = "application/vnd.docker.distribution.manifest.v2+json"
)

// Annotations of an index' entries that name an image.
const (
	annotationRef        = "org.opencontainers.image.ref.name"
	annotationContainerd = "io.containerd.image.name"
	annotationReference  = "vnd.docker.reference.type" // signatures and the like
)

type descriptor struct {
	MediaType   string
	Digest      Digest
	Size        int64
	Platform    *struct{ OS, Architecture, Variant string }
	Annotations map[string]string
	URLs        []string
}

type index struct {
	MediaType string
	Manifests []descriptor
}

type manifest struct {
	MediaType string
	Config    descriptor
	Layers    []descriptor
}

// candidate is a manifest that could be the one.
type candidate struct {
	desc     descriptor
	ref      string
	platform string
}

const (
	maxIndexDepth = 4
	maxManifests  = 1000
)

// document reads a JSON document by its descriptor, and verifies it.
func document(s Store, what string, d descriptor, to any) ([]byte, error) {
	if _, err := d.Digest.newHash(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	what = fmt.Sprintf("%s %.19s...", what, string(d.Digest))
	p, err := readAll(s, d.Digest.path())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if int64(len(p)) != d.Size {
		return nil, fmt.Errorf("%s has %d bytes, should have %d; it is damaged or was changed", what, len(p), d.Size)
	}
	v, err := newVerifier(strings.NewReader(string(p)), what, d.Digest, d.Size)
	if err == nil {
		_, err = io.Copy(io.Discard, v)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(p, to); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", what, err)
	}
	return p, nil
}

func openLayout(s Store, c Choice) (*Image, error) {
	p, err := readAll(s, "oci-layout")
	if err != nil {
		return nil, err
	}
	var version struct{ ImageLayoutVersion string }
	if err := json.Unmarshal(p, &version); err != nil {
		return nil, fmt.Errorf("oci-layout cannot be read: %w", err)
	}
	if !strings.HasPrefix(version.ImageLayoutVersion, "1.") {
		return nil, fmt.Errorf("the image layout is of version %.20q, which is not known", version.ImageLayoutVersion)
	}
	if p, err = readAll(s, "index.json"); err != nil {
		return nil, err
	}
	var top index
	if err := json.Unmarshal(p, &top); err != nil {
		return nil, fmt.Errorf("index.json cannot be read: %w", err)
	}
	var all []candidate
	if err := collect(s, &top, "", 0, &all); err != nil {
		return nil, err
	}
	chosen, err := pick(all, c, func(x candidate) string { return x.ref }, func(x candidate) string { return x.platform })
	if err != nil {
		return nil, err
	}
	return openManifest(s, chosen)
}

// collect adds the manifests of an index, and of the indexes in it.
func collect(s Store, x *index, ref string, depth int, all *[]candidate) error {
	for _, d := range x.Manifests {
		if len(*all) >= maxManifests {
			return errors.New("there are too many images in it")
		}
		name := ref
		if n := d.Annotations[annotationRef]; n != "" && (name == "" || depth == 0) {
			name = n
		}
		if n := d.Annotations[annotationContainerd]; n != "" {
			name = n
		}
		switch d.MediaType {
		case typeIndex, typeDockerList:
			if depth >= maxIndexDepth {
				return errors.New("its indexes are nested too deeply")
			}
			var inner index
			if _, err := document(s, "index", d, &inner); err != nil {
				return err
			}
			if err := collect(s, &inner, name, depth+1, all); err != nil {
				return err
			}
		case typeManifest, typeDockerV2:
			if d.Annotations[annotationReference] != "" || d.Platform != nil && d.Platform.OS == "unknown" {
				continue
			}
			if d.Platform != nil {
				*all = append(*all, candidate{d, name, platformString(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant)})
				continue
			}
			// Only the image's configuration says what it is for.
			m, _, err := readManifest(s, d)
			if err != nil {
				return err
			}
			var c configFile
			if _, err := document(s, "configuration", m.Config, &c); err != nil {
				return err
			}
			if c.OS == "" {
				continue // not an image, but something else that is kept like one
			}
			*all = append(*all, candidate{d, name, c.platform()})
		}
	}
	return nil
}

func readManifest(s Store, d descriptor) (*manifest, []byte, error) {
	var m manifest
	p, err := document(s, "manifest", d, &m)
	if err != nil {
		return nil, nil, err
	}
	if len(m.Layers) > maxLayers {
		return nil, nil, fmt.Errorf("the image has %d layers, which is too much", len(m.Layers))
	}
	return &m, p, nil
}

func openManifest(s Store, c candidate) (*Image, error) {
	m, _, err := readManifest(s, c.desc)
	if err != nil {
		return nil, err
	}
	im := &Image{Ref: c.ref}
	for i, d := range m.Layers {
		what := fmt.Sprintf("layer %d of %d", i+1, len(m.Layers))
		if !strings.Contains(d.MediaType, "tar") {
			return nil, fmt.Errorf("%s is of type %.100q, which is no archive of files", what, d.MediaType)
		}
		if strings.Contains(d.MediaType, "encrypted") {
			return nil, fmt.Errorf("%s is encrypted", what)
		}
		if _, err := d.Digest.newHash(); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		f, err := s.Open(d.Digest.path())
		if err != nil {
			if len(d.URLs) > 0 {
				return nil, fmt.Errorf("%s is not in the layout, but at %.200q; fetch the image with such layers included", what, d.URLs[0])
			}
			return nil, fmt.Errorf("%s (%s) is missing", what, d.Digest)
		}
		f.Close()
		if f.Size != d.Size {
			return nil, fmt.Errorf("%s has %d bytes, should have %d; it is damaged or was changed", what, f.Size, d.Size)
		}
		im.Layers = append(im.Layers, Layer{Size: d.Size, store: s, name: d.Digest.path(), stored: d.Digest})
	}
	var raw json.RawMessage
	p, err := document(s, "configuration", m.Config, &raw)
	if err != nil {
		return nil, err
	}
	if err := im.configure(p); err != nil {
		return nil, err
	}
	im.name()
	return im, nil
}
