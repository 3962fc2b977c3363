package vm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"noid/internal/vmm/drivers"
)

// TestRealVM walks a real VM through its life as a front end would, without the command line.
func TestRealVM(t *testing.T) {
	kernel, rootfs := os.Getenv("NOID_TEST_KERNEL"), os.Getenv("NOID_TEST_ROOTFS")
	if kernel == "" || rootfs == "" {
		t.Skip("NOT RUN: NOID_TEST_KERNEL and NOID_TEST_ROOTFS are not set ('make test' does)")
	}
	self, err := os.Executable()
	must(t, err)
	ctx, dir := t.Context(), t.TempDir()
	m, err := Open(ctx, filepath.Join(dir, "home"), "test", false)
	must(t, err)
	defer m.Close()
	m.HelperCommand = []string{self, asHelper}
	m.Drivers = drivers.New(drivers.Config{}, m.StartHelper)
	defer m.Destroy(ctx, "a", true)
	defer m.Destroy(ctx, "b", true)
	exec := func(name, script, want string) {
		t.Helper()
		var out bytes.Buffer
		exit, err := m.Exec(ctx, name, Command{Argv: []string{"sh", "-c", script}, Wait: 2 * time.Minute}, Streams{Out: &out, Err: &out})
		if err != nil || exit.Code != 0 || out.String() != want {
			t.Fatalf("%s: %q, %+v, %v", script, out.String(), exit, err)
		}
	}
	must(t, m.Create(ctx, CreateOptions{Name: "a", Kernel: kernel, Rootfs: rootfs, Wait: 3 * time.Minute}))
	exec("a", "echo out; echo err >&2", "out\nerr\n")
	there, back := filepath.Join(dir, "there"), filepath.Join(dir, "back")
	must(t, os.WriteFile(there, []byte("then"), 0o600))
	must(t, m.Copy(ctx, []Place{{Path: there}}, Place{VM: "a", Path: "/root/file"}, CopyOptions{Wait: time.Minute}))
	c, err := m.Checkpoint(ctx, "a", "before")
	must(t, err)
	exec("a", "printf now >/root/file", "")
	must(t, m.Copy(ctx, []Place{{VM: "a", Path: "/root/file"}}, Place{Path: back}, CopyOptions{Wait: time.Minute}))
	if data, err := os.ReadFile(back); err != nil || string(data) != "now" {
		t.Errorf("copied back: %q, %v", data, err)
	}
	must(t, m.Restore(ctx, "a", c.ID, RestoreOptions{As: "b"}))
	exec("b", "cat /root/file; hostname", "thenb\n")
	exec("a", "cat /root/file", "now")
}
