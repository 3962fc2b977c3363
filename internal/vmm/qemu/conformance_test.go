package qemu_test

import (
	"testing"

	"noid/internal/vmm/qemu"
	"noid/internal/vmm/vmmtest"
)

func TestConformance(t *testing.T) {
	vmmtest.Run(t, vmmtest.Harness{
		Guest:   vmmtest.GuestFromEnv(t, "NOID_TEST_KERNEL"),
		Driver:  qemu.New("", vmmtest.KVM()),
		Missing: qemu.New("/nonexistent/qemu", vmmtest.KVM()),
	})
}
