package main

import (
	"errors"
	"fmt"
	"os"

	"pinhole/runtime/supervisor"
)

// throwaway makes an image in memory that holds the program at path of the host, as /bin/NAME.
// With an error comes the exit status.
func throwaway(path string) (*supervisor.Image, int, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, supervisor.ExitNotFound, fmt.Errorf("%s: no such program (without --image, the program is a file of the host)", path)
	case err != nil:
		return nil, supervisor.ExitNotExecutable, err
	case !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0:
		return nil, supervisor.ExitNotExecutable, fmt.Errorf("%s: is not an executable file", path)
	}
	return nil, supervisor.ExitNotStarted, errors.New("throw-away images are not there yet")
}
