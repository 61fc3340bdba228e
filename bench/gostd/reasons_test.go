package gostd

import "regexp"

// reasons are why benchmarks take more than 1.5 times as long inside. The first that fits a row's id counts. What is
// here was looked into; what is not stands in the table with a question mark, and TestTable fails.
var reasons = []reason{
	{regexp.MustCompile(`^time\.(ParallelTimerLatency|StaggeredTickerLatency)`),
		"a timer passes through two schedulers, and where both processors compute, the kernel's own timer waits for one of them"},
	{regexp.MustCompile(`^time\.Sleep1000$`),
		"each of the threads that look after timers sleeps and is woken in the kernel and in the host"},
	{regexp.MustCompile(`^runtime\.MutexHandoff/`),
		"two threads that spin on each other: one that is woken while its waker computes on may wait for the waker's tick"},
	{regexp.MustCompile(`^runtime\.GoroutineProfile/.*/loaded$`),
		"stops goroutines that compute, which takes a signal, and that comes at the next tick"},
	{regexp.MustCompile(`^runtime\.(MemclrKnownSize\d+|CopyFat\d+|IfaceCmpNil100|Append)$`),
		"a loop of a few instructions that lies in the other half of a 64-byte line, since the program has 32 bytes more before it; no other instructions"},
	{regexp.MustCompile(`^runtime\.MakeChan/Struct/0$`),
		"makes nothing but garbage, which is collected beside it: measured beside other work it came out between 0.5 and 2.7"},
}
