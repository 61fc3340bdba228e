package gostd

import "regexp"

// reasons are why benchmarks take more than 1.5 times as long inside. The first that fits a row's id counts. What is
// here was looked into; what is not stands in the table with a question mark, and TestTable fails.
var reasons = []reason{
	{regexp.MustCompile(`^runtime\.GoroutineProfile/.*/loaded$`),
		"stops goroutines that compute, which takes a signal, and that comes at the next tick"},
	{regexp.MustCompile(`^runtime\.(MemclrKnownSize\d+|CopyFat\d+|IfaceCmpNil100|Append)$`),
		"a loop of a few instructions, the same ones, that lies otherwise in the 64-byte lines: more orders (-own.layouts) bring it nearer to 1"},
}
