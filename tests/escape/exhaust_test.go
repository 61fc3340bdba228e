package escape

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestEatMemory: memory ends with ENOMEM, or the sandbox ends; the host gives no more than
// it was to have.
func TestEatMemory(t *testing.T) {
	const limit = 64 // megabytes
	for _, kind := range []string{"map", "shared", "break"} {
		t.Run(kind, func(t *testing.T) {
			s := startWith(t, []string{"--memory", fmt.Sprintf("%dM", limit)}, "eatmemory", kind)
			out := s.ready()
			if got := numbers(out, "megabytes"); len(got) != 1 || got[0] > limit {
				t.Errorf("a program that may have %d MB has %v", limit, got)
			}
			rss := status(fmt.Sprintf("/proc/%d/status", s.process()))
			kb, _ := strconv.Atoi(strings.Fields(rss["VmHWM"] + " 0")[0])
			if kb > (limit+96)<<10 {
				t.Errorf("the sandbox process has had %d kB of memory", kb)
			}
			if status := s.end(); status != 0 {
				t.Errorf("exit status %d\n%s", status, s.stderr.String())
			}
		})
	}
}

// TestEatThreads: guest threads cost the host no tasks, and end with EAGAIN or ENOMEM.
func TestEatThreads(t *testing.T) {
	s := startWith(t, []string{"--memory", "128M"}, "eatthreads", "50000")
	out := s.ready()
	n, last := numbers(out, "threads"), numbers(out, "last")
	if len(n) != 1 || n[0] < 100 {
		t.Errorf("threads: %v", out)
	}
	if len(last) == 1 && last[0] < 0 && last[0] != -int(syscall.EAGAIN) && last[0] != -int(syscall.ENOMEM) {
		t.Errorf("ended with errno %d", -last[0])
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", s.process()))
	if err != nil || len(tasks) > 100 {
		t.Errorf("%d host threads, %v", len(tasks), err)
	}
	t.Logf("%v guest threads on %d host threads", n, len(tasks))
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d\n%s", status, s.stderr.String())
	}
}

func TestEatDescriptors(t *testing.T) {
	s := start(t, "eatdescriptors")
	out := s.ready()
	if last := numbers(out, "last"); len(last) != 1 || last[0] != -int(syscall.EMFILE) {
		t.Errorf("%v", out)
	}
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestEatCPU: a guest that computes on more threads than there are processors, without ever
// calling, can be ended by a signal to the supervisor at once.
func TestEatCPU(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := start(t, "eatcpu", "8")
		s.until("spinning")
		time.Sleep(50 * time.Millisecond)
		s.inspect()
		s.cmd.Process.Signal(sig)
		if status := s.wait(); status != 128+int(sig) {
			t.Errorf("%v: exit status %d\n%s", sig, status, s.stderr.String())
		}
	}
}
