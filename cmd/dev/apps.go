package main

import (
	"context"

	"pinhole/shim/apps"
)

// buildApps builds the programs of the demo and of the tests, for Pinhole into build/apps and
// for the host into build/native.
func (t *tree) buildApps(ctx context.Context) error {
	work := t.path("build", "work")
	o := apps.Pinhole(work, t.path("build", "apps"), t.path("build", "bin", "pinhole"), t.path("build", "sysroot"))
	o.Progress = t.ui.progress
	if err := apps.Build(ctx, o); err != nil {
		return err
	}
	o = apps.Native(work, t.path("build", "native"))
	o.Progress = t.ui.progress
	return apps.Build(ctx, o)
}
