// Package conformance is the suite that every VMM driver must pass, with a real VMM and a real Linux guest. A driver's
// own test calls Run with a Harness that says where the driver differs.
//
// The guest comes from the environment, which `make test` sets; without it the suite is skipped, and says so:
//
//	NOID_TEST_KERNEL   a bzImage           NOID_TEST_INITRD  noid's initramfs for it, with the agent
//	NOID_TEST_VMLINUX  an ELF vmlinux      NOID_TEST_ROOTFS  ext4 with busybox's tools and a root shell on the console
//	NOID_TEST_KVM=1    run guests on KVM
//
// No test asserts how long anything takes; the time limits are there only to end a test that would hang.
package conformance

import (
	"os"
	"testing"
	"time"

	"noid/internal/vmm"
)

// Harness is a driver and where it differs from others.
type Harness struct {
	Driver vmm.Driver
	// Missing is the same driver with a binary that does not exist.
	Missing vmm.Driver
	Guest   Guest
	// CPUs of the guest; 0 means 1.
	CPUs int
	// BootArgs are added to the driver's own.
	BootArgs string
	// StaysAtPoweroff is set when the VMM does not exit when its guest powers off.
	StaysAtPoweroff bool
	// ObeysShutdown is set when the guest powers off when told to.
	ObeysShutdown bool
	// Wakes is set when the driver can wake a guest that has put itself to sleep.
	Wakes bool
	// SnapshotTouchesMemory is set when taking a snapshot itself writes to guest memory: Firecracker puts a transport
	// reset into the vsock device's queue.
	SnapshotTouchesMemory bool
}

// Guest is the Linux that runs in the VMs: paths of its files. The suite boots copies of the root file system.
type Guest struct {
	KernelPath, InitrdPath, RootfsPath string
}

// KVM reports whether guests should run on KVM.
func KVM() bool { return os.Getenv("NOID_TEST_KVM") == "1" }

// GuestFromEnv returns the guest that the environment names, its kernel taken from kernelVariable, or skips t.
func GuestFromEnv(t *testing.T, kernelVariable string) Guest {
	t.Helper()
	g := Guest{os.Getenv(kernelVariable), os.Getenv("NOID_TEST_INITRD"), os.Getenv("NOID_TEST_ROOTFS")}
	if g.KernelPath == "" || g.RootfsPath == "" || g.InitrdPath == "" {
		t.Skipf("NOT RUN: no real guest: set %s, NOID_TEST_INITRD and NOID_TEST_ROOTFS, as `make test` does", kernelVariable)
	}
	return g
}

const (
	// memMiB is enough for a distribution's kernel with busybox.
	memMiB = 256
	// bootLimit ends a boot that hangs. Under emulation on a busy machine one takes 10–60 s.
	bootLimit = 4 * time.Minute
	// stepLimit ends anything else that hangs.
	stepLimit = time.Minute
)

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if testing.Short() {
		t.Skip("NOT RUN: boots real VMs, which -short forbids")
	}
	t.Run("Errors", func(t *testing.T) { testErrors(t, h) })
	t.Run("Cancel", func(t *testing.T) { testCancel(t, h) })
	t.Run("Base", func(t *testing.T) { testBase(t, h) })
	t.Run("Net", func(t *testing.T) { testNet(t, h) })
	t.Run("Life", func(t *testing.T) { testLife(t, h) })
}
