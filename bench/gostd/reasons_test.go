package gostd

import "regexp"

// reasons are why benchmarks take more than 1.5 times as long inside, by how their ids begin.
var reasons = []reason{}

var _ = regexp.MustCompile
