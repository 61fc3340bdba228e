//go:build embedkernel

package kernel

import (
	"bytes"
	_ "embed"
	"io"
	"os"
	"path/filepath"

	"pinhole/runtime/launch"
)

//go:embed zkernel
var image []byte

// open returns the file beside the running program if it is the kernel of the same build: its pages
// are there already, and shared by all sandboxes. Else the one in this program is put into memory, which takes a
// few milliseconds.
func open() (*os.File, error) {
	if f := beside(); f != nil {
		return f, nil
	}
	return launch.SealedExecutable(launch.Name, image)
}

func beside() *os.File {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	f, err := os.Open(filepath.Join(filepath.Dir(self), launch.Name))
	if err != nil {
		return nil
	}
	// The beginning of the file holds its build ID, a hash of what it is built from. Whoever may
	// change the file may change this program too.
	var head [4096]byte
	st, err := f.Stat()
	if err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o005 == 0o005 && st.Size() == int64(len(image)) {
		if _, err := io.ReadFull(f, head[:]); err == nil && bytes.Equal(head[:], image[:len(head)]) {
			return f
		}
	}
	f.Close()
	return nil
}
