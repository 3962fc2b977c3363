package firecracker_test

import (
	"testing"

	"noid/internal/vmm/conformance"
	"noid/internal/vmm/firecracker"
)

// TestConformance runs the drivers' common suite with the real Firecracker. Where the host has no KVM,
// scripts/kvm-lab.sh makes one.
func TestConformance(t *testing.T) {
	if !conformance.KVM() {
		t.Skip("NOT RUN: Firecracker needs KVM: set NOID_TEST_KVM=1 where /dev/kvm works, or in scripts/kvm-lab.sh")
	}
	driver := firecracker.New("")
	version, err := driver.Version(t.Context())
	if err != nil {
		t.Skipf("NOT RUN: no firecracker binary on PATH or in /usr/local/bin: %v", err)
	}
	t.Logf("firecracker %s", version)
	conformance.Run(t, conformance.Harness{
		Driver:                driver,
		Missing:               firecracker.New("/nonexistent/firecracker"),
		Guest:                 conformance.GuestFromEnv(t, "NOID_TEST_VMLINUX"),
		StaysAtPoweroff:       true,
		SnapshotTouchesMemory: true,
	})
}
