package home

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"noid/internal/vmm"
)

// elsewhere starts what stands for a VMM in dir, in a pid namespace of its own. end ends it.
func elsewhere(t *testing.T, dir string) (end func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(dir, 0o700))
	must(unix.Mkfifo(filepath.Join(dir, vmm.SerialInFile), 0o600))
	in, err := os.OpenFile(filepath.Join(dir, vmm.SerialInFile), os.O_RDWR, 0)
	must(err)
	defer in.Close()
	out, err := vmm.OpenLog(dir)
	must(err)
	defer out.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.SysProcAttr = dir, in, out, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("NOT RUN: no pid namespaces here: %v", err)
	}
	end = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(end)
	return end
}

// TestSweepElsewhere: what runs in another pid namespace is neither killed nor are its files removed, until it has
// ended.
func TestSweepElsewhere(t *testing.T) {
	h := openHome(t)
	staged, published := h.StagingDir("a"), h.VMDir("a")
	ends := []func(){elsewhere(t, staged), elsewhere(t, published)}
	for range 2 {
		if err := h.Sweep(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{staged, published} {
			if _, err := os.Stat(dir); err != nil || !vmm.Elsewhere(dir, 0) {
				t.Errorf("%s: %v, runs elsewhere: %v", dir, err, vmm.Elsewhere(dir, 0))
			}
		}
	}
	for _, end := range ends {
		end()
	}
	if vmm.Elsewhere(published, 0) {
		t.Error("what has ended runs elsewhere")
	}
	if err := h.Sweep(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(staged); !os.IsNotExist(err) {
		t.Errorf("what has ended is not swept: %v", err)
	}
}
