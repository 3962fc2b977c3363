package vmm

// Machine is the hardware and boot configuration of a VM. It is recorded in vm.json and in each checkpoint: the same
// Machine over the same files is the same VM.
type Machine struct {
	Driver        string `json:"driver"`
	DriverVersion string `json:"driver_version,omitempty"` // filled in by Start and Load, such as "7.2.22" or "1.16.1"
	CPUs          int    `json:"cpus"`
	MemMiB        int    `json:"mem_mib"`
	KernelPath    string `json:"kernel"`              // absolute, in a format that the driver boots
	InitrdPath    string `json:"initrd,omitempty"`    // absolute; empty for none
	BootArgs      string `json:"boot_args,omitempty"` // appended to the driver's own kernel command line
	// Agent says that noid's agent is in the initramfs.
	Agent bool `json:"agent,omitempty"`
	// Hardware pins what the driver chose at Start (QEMU's versioned machine type, accelerator, CPU model), so that
	// Load builds the same. Start fills it in; Load obeys it.
	Hardware map[string]string `json:"hardware,omitempty"`
}
