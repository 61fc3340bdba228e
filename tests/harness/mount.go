package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// heldFor is how long Unmount waits for other mount namespaces. A sandbox that starts drops its
// copies of the host's mounts at once; a test that keeps a namespace for longer is in the way.
const heldFor = time.Minute

// Unmount unmounts what Linux has mounted at dir, and waits until the file behind its loop device
// is nobody's but ours. The mount itself goes at once, but every process that has got a mount
// namespace of its own in the meantime, as sandboxes do, has a copy of it, and as long as there is one,
// the file system goes on being mounted, and is not clean on the image.
func Unmount(dir string) error {
	loop, backing := loopOf(dir)
	for try := 0; ; try++ {
		// It may be busy for a moment: with a child that has not closed our descriptors yet.
		out, err := exec.Command("umount", dir).CombinedOutput()
		if err == nil {
			break
		}
		if try == 50 {
			return fmt.Errorf("umount %s: %v: %s", dir, err, out)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if loop == "" {
		return nil
	}
	for end := time.Now().Add(heldFor); backingOf(loop) == backing; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("umount %s: another mount namespace still has it: /dev/%s keeps %s", dir, loop, backing)
		}
	}
	return nil
}

// loopOf returns the loop device that is mounted at dir, and the file behind it; "" for none.
func loopOf(dir string) (loop, backing string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", ""
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	escape := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)
	for line := range strings.Lines(string(mounts)) {
		head, tail, _ := strings.Cut(line, " - ")
		h, t := strings.Fields(head), strings.Fields(tail)
		if len(h) > 4 && h[4] == escape.Replace(dir) && len(t) > 1 && strings.HasPrefix(t[1], "/dev/loop") {
			loop = strings.TrimPrefix(t[1], "/dev/") // the last one is on top
		}
	}
	return loop, backingOf(loop)
}

// backingOf returns the file behind a loop device, "" if there is none.
func backingOf(loop string) string {
	p, err := os.ReadFile(filepath.Join("/sys/block", loop, "loop", "backing_file"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return strings.TrimSpace(string(p))
}
