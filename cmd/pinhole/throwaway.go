package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"pinhole/cmd/pinhole/image"
	"pinhole/runtime/supervisor"
)

// throwaway makes an image in memory that holds the program at path of the host, and returns its
// path in the image. With an error comes the exit status.
func throwaway(path string) (_ *supervisor.Image, program string, status int, _ error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, "", supervisor.ExitNotFound, fmt.Errorf("%s: no such program (without --image, the program is a file of the host)", path)
	case err != nil:
		return nil, "", supervisor.ExitNotExecutable, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
		return nil, "", supervisor.ExitNotExecutable, fmt.Errorf("%s: is not an executable file", path)
	}
	name := filepath.Base(path)
	disk, err := image.Throwaway(f, "/bin/"+name, image.ThrowawayRoom)
	if err != nil {
		return nil, "", supervisor.ExitNotStarted, fmt.Errorf("making a throw-away disk: %w", err)
	}
	i, err := supervisor.MemoryImage(disk, "of "+name)
	return i, "/bin/" + name, supervisor.ExitNotStarted, err
}
