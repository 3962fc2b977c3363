package qemu_test

import (
	"os"
	"runtime"
	"testing"

	"noid/internal/vmm/conformance"
	"noid/internal/vmm/qemu"
)

func TestMain(m *testing.M) {
	conformance.Helper(qemu.New("", conformance.KVM))
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Harness{
		Guest:   conformance.GuestFromEnv(t, "NOID_TEST_KERNEL"),
		Driver:  qemu.New("", conformance.KVM),
		Missing: qemu.New("/nonexistent/qemu", conformance.KVM),
		Wakes:   runtime.GOARCH == "amd64",
	})
}
