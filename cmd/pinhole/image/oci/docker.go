package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
)

// dockerImage is an entry of manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func openDocker(s Store, c Choice) (*Image, error) {
	p, err := readAll(s, "manifest.json")
	if err != nil {
		return nil, err
	}
	var list []dockerImage
	if err := json.Unmarshal(p, &list); err != nil {
		return nil, fmt.Errorf("manifest.json cannot be read: %w", err)
	}
	if len(list) > maxManifests {
		return nil, fmt.Errorf("there are %d images in it, which is too much", len(list))
	}
	type candidate struct {
		im            *Image
		ref, platform string
	}
	var all []candidate
	for _, d := range list {
		im, err := dockerManifest(s, &d)
		if err != nil {
			return nil, err
		}
		for _, tag := range d.RepoTags {
			all = append(all, candidate{im, tag, im.Platform})
		}
		if len(d.RepoTags) == 0 {
			all = append(all, candidate{im, "", im.Platform})
		}
	}
	if c.Ref == "" && len(list) == 1 {
		all = all[:1] // an image with several tags
	}
	chosen, err := pick(all, c, func(x candidate) string { return x.ref }, func(x candidate) string { return x.platform })
	if err != nil {
		return nil, err
	}
	chosen.im.Ref = chosen.ref
	return chosen.im, nil
}

func dockerManifest(s Store, d *dockerImage) (*Image, error) {
	if len(d.Layers) > maxLayers {
		return nil, fmt.Errorf("the image has %d layers, which is too much", len(d.Layers))
	}
	p, err := readAll(s, d.Config)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	// The file is called after its digest.
	id := Digest("sha256:" + strings.TrimSuffix(path.Base(d.Config), ".json"))
	if _, err := id.newHash(); err == nil {
		v, err := newVerifier(strings.NewReader(string(p)), "configuration "+d.Config, id, -1)
		if err == nil {
			_, err = io.Copy(io.Discard, v)
		}
		if err != nil {
			return nil, err
		}
	}
	im := &Image{}
	for i, name := range d.Layers {
		f, err := s.Open(name)
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d (%.100s) is missing", i+1, len(d.Layers), name)
		}
		f.Close()
		im.Layers = append(im.Layers, Layer{Size: f.Size, store: s, name: name})
	}
	if err := im.configure(p); err != nil {
		return nil, err
	}
	im.name()
	return im, nil
}
