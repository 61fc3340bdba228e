package golang

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pinhole/cmd/pinhole/image"
)

// outputs are the flags of a test binary that name a file it writes, or with a slash a directory.
var outputs = []string{"coverprofile", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace",
	"testlogfile", "outputdir/", "gocoverdir/", "artifactsdir/"}

// Outputs has the files come back that a test binary's arguments name.
func (p *Place) Outputs(cwd string, args []string) {
	at := func(dir, path string) string {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return path
	}
	dir := cwd
	var files []string
	for _, a := range args {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(a, "-"), "-"), "=")
		name, test := strings.CutPrefix(name, "test.")
		switch {
		case !ok || !test || value == "" || !strings.HasPrefix(a, "-"):
		case slices.Contains(outputs, name+"/"):
			value = at(cwd, value)
			if name == "outputdir" {
				dir = value
			} else {
				p.fetch[value] = value
				p.Import(value) // what is there may be read
			}
			p.directory(value)
		case slices.Contains(outputs, name):
			files = append(files, value)
		case name == "fuzz": // what makes it fail is written there
			found := filepath.Join(cwd, "testdata", "fuzz")
			p.grow[found] = found
		case name == "fuzzcachedir": // what it has learnt before, and will
			value = at(cwd, value)
			if p.Import(value) != nil {
				p.directory(value)
			}
			p.grow[value] = value
		}
	}
	for _, f := range files {
		f = at(dir, f)
		p.directory(filepath.Dir(f))
		p.fetch[f] = f
	}
}

// Fetch brings back what is to come back.
func (p *Place) Fetch(f *os.File) error {
	var err error
	if len(p.fetch) > 0 {
		err = image.Fetch(f, p.fetch)
	}
	if len(p.grow) > 0 && err == nil {
		err = image.FetchNew(f, p.grow)
	}
	return err
}
