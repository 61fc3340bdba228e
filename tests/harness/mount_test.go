package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestUnmountWaits has another mount namespace hold a mount for a while.
func TestUnmountWaits(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	img := filepath.Join(t.TempDir(), "image")
	if out, err := exec.Command(Tool(t, "mkfs.ext4", "e2fsprogs"), "-q", "-F", img, "8M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", img, dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount here: %v: %s", err, out)
	}
	other := exec.Command("unshare", "--mount", "sh", "-c", "echo; read line")
	in, _ := other.StdinPipe()
	out, _ := other.StdoutPipe()
	if err := other.Start(); err != nil {
		exec.Command("umount", dir).Run()
		t.Skipf("no mount namespaces here: %v", err)
	}
	out.Read(make([]byte, 1)) // it has its namespace
	done := make(chan error)
	go func() { done <- Unmount(dir) }()
	select {
	case err := <-done:
		t.Errorf("unmounted while another namespace has the mount: %v", err)
		in.Close()
	case <-time.After(200 * time.Millisecond):
		in.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	other.Wait()
	Fsck(t, img)
}
