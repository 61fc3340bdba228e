// Package include holds the header for C guests, for those who build sysroots.
package include

import _ "embed"

// Pinhole is pinhole.h, generated from the ABI's text.
//
//go:embed pinhole.h
var Pinhole []byte
