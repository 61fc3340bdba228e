package main

import "pinhole/cmd/pinhole/units"

type size = units.Size
