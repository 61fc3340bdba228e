package main

import "context"

// buildApps builds the programs of the demo and of the tests.
func (t *tree) buildApps(ctx context.Context) error { return nil }
