package conformance

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"noid/internal/disk"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// testBase follows a VM whose own disk lies over a base: both are in the guest, a snapshot of it loads, its disk grows
// while it runs, and nobody writes the base.
func testBase(t *testing.T, h Harness) {
	empty, err := disk.Empty(t.Context(), t.TempDir(), 512)
	if err != nil {
		t.Fatal(err)
	}
	vm := newMachine(t, h, empty)
	vm.m.Base, vm.m.DiskMiB = true, 512
	base := filepath.Join(vm.dir, vmm.BaseFile)
	if _, err := storage.Clone(t.Context(), base, h.Guest.RootfsPath); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o400); err != nil {
		t.Fatal(err)
	}
	before := digest(t, base)
	vm.boot(t)
	const root = `awk '$2 == "/" {t = $3} END {print t}' /proc/mounts; cat /root/f`
	vm.con.run(t, "echo first >/root/f; mv /etc /moved; mv /moved /etc; sync")
	vm.con.wantRun(t, root, "overlay\nfirst")

	const grown = 1 << 30
	if err := os.Truncate(filepath.Join(vm.dir, vmm.RootfsFile), grown); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := h.Driver.GrowDisk(limit(t, stepLimit), vm.dir, grown); err != nil {
			t.Fatalf("GrowDisk: %v", err)
		}
	}
	vm.con.wantRun(t, "until grep -qx 2097152 /sys/block/vd*/size; do sleep 0.1; done; echo grown", "grown")

	vm.tell(t, vmm.Pause)
	checkpoint := vm.checkpoint(t)
	vm.tell(t, vmm.Resume)
	vm.con.run(t, "echo second >/root/f; sync")
	clone := vm.load(t, checkpoint)
	clone.con.wantRun(t, root, "overlay\nfirst")
	clone.con.run(t, "echo third >/root/f; sync")

	vm.con.send(t, "poweroff -f\n")
	vm.wantEnding(t, vmm.EndedPoweroff)
	if err := vm.p.Kill(limit(t, stepLimit)); err != nil {
		t.Fatal(err)
	}
	vm.boot(t)
	vm.con.wantRun(t, root+"; df -m / | awk 'NR == 2 {print ($2 > 900)}'", "overlay\nsecond\n1")
	if !bytes.Equal(digest(t, base), before) {
		t.Error("the base was written")
	}
}
