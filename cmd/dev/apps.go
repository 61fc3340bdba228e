package main

import (
	"context"

	"pinhole/shim/apps"
)

// buildApps builds the programs of the demo and of the tests from Debian's source packages:
// for Pinhole into build/apps, and for the host, to compare with, into build/native.
func (t *tree) buildApps(ctx context.Context) error {
	work := t.path("build", "work")
	guest := apps.Pinhole(work, t.path("build", "apps"), t.path("build", "bin", "pinhole"), t.path("build", "sysroot"))
	native := apps.Native(work, t.path("build", "native"))
	for _, o := range []apps.Options{guest, native} {
		o.Progress = t.ui.progress
		if err := apps.Build(ctx, o); err != nil {
			return err
		}
	}
	return nil
}
