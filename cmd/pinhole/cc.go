package main

import "pinhole/shim/cc"

func init() {
	verbatim["cc"] = cc.Main
	verbatim["c++"] = cc.Main
}
