package qemu_test

import (
	"os"
	"testing"

	"noid/internal/vmm/qemu"
	"noid/internal/vmm/vmmtest"
)

func TestMain(m *testing.M) {
	vmmtest.Helper(qemu.ServeAgent)
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	vmmtest.Run(t, vmmtest.Harness{
		Guest:   vmmtest.GuestFromEnv(t, "NOID_TEST_KERNEL"),
		Driver:  qemu.New("", vmmtest.KVM),
		Helper:  true,
		Missing: qemu.New("/nonexistent/qemu", vmmtest.KVM),
	})
}
