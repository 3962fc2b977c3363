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
	// Base says that the VM has a second disk, BaseFile: the only one that the guest cannot write, by which noid-init
	// knows it. The guest's root is made of both.
	Base bool `json:"base,omitempty"`
	// DiskMiB is the size of the own disk, 0 for that of the file that it is a copy of. The guest's file system grows
	// to it when it boots.
	DiskMiB int `json:"disk_mib,omitempty"`
	// Net says that the VM has a network device. It ends in a network namespace of the VMM's own: see package
	// network/space, whose Socket returns its other end.
	Net bool `json:"net,omitempty"`
	// NetPair says that the network device ends in a pair of sockets instead, where the host allows no namespace: see
	// space.StartPair. It offers the guest no offloads. Start fills it in; Load obeys it.
	NetPair bool `json:"net_pair,omitempty"`
	// Hardware pins what the driver chose at Start (QEMU's versioned machine type, accelerator, CPU model), so that
	// Load builds the same. Start fills it in; Load obeys it.
	Hardware map[string]string `json:"hardware,omitempty"`
}

// layersWord and growWord are what noid-init looks for on the kernel's command line: that there is a base, and that the
// file system of the own disk may be smaller than the disk.
const (
	layersWord = "noid.base"
	growWord   = "noid.grow"
)

// keepNames has systemd's udev leave eth0 its name. It cannot give another one to a device that is up, and
// systemd-networkd would wait for ever until it has.
const keepNames = "net.ifnames=0"

// Cmdline is the guest's kernel command line: the driver's own arguments, what noid-init and udev are to know, and m's.
func (m *Machine) Cmdline(own string) string {
	if m.Base {
		own += " " + layersWord
	}
	if m.DiskMiB > 0 {
		own += " " + growWord
	}
	if m.Net {
		own += " " + keepNames
	}
	if m.BootArgs != "" {
		own += " " + m.BootArgs
	}
	return own
}
