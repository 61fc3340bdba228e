//go:build race

package fs

// racing: the race detector is on.
const racing = true
