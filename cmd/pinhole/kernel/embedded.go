//go:build embedkernel

package kernel

import (
	_ "embed"
	"os"

	"pinhole/runtime/launch"
)

//go:embed zkernel
var image []byte

func open() (*os.File, error) { return launch.SealedExecutable(launch.Name, image) }
