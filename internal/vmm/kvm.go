package vmm

import "noid/internal/errs"

// KVMDevice is the device file of the host's KVM.
const KVMDevice = "/dev/kvm"

const kvmCure = "check that " + KVMDevice + " is there and yours to open"

// NoKVM is the error of a host whose KVM a VMM cannot use.
func NoKVM(cause error) error { return errs.Host("use KVM", cause).Hint(kvmCure) }

// NoKVMToLoad is NoKVM for a snapshot that needs it.
func NoKVMToLoad(cause error) error {
	return errs.Host("use KVM", cause).Hint(kvmCure + ", or restore it on another host")
}
