package emu

import "io"

type tracer struct{}

func newTracer(w io.Writer) *tracer { return &tracer{} }
