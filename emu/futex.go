package emu

type futexTable struct{}
