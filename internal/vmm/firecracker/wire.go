package firecracker

import (
	"net"

	"noid/internal/network/address"
	"noid/internal/network/space"
	"noid/internal/vmm"
)

// The API's bodies, with its own names. Only the fields that noid sets.

type machineConfig struct {
	VCPUCount       int  `json:"vcpu_count"`
	MemSizeMib      int  `json:"mem_size_mib"`
	SMT             bool `json:"smt"`
	TrackDirtyPages bool `json:"track_dirty_pages"`
}

type bootSource struct {
	KernelImagePath string `json:"kernel_image_path"`
	InitrdPath      string `json:"initrd_path,omitempty"`
	BootArgs        string `json:"boot_args"`
}

type drive struct {
	DriveID      string `json:"drive_id"`
	PathOnHost   string `json:"path_on_host"`
	IsRootDevice bool   `json:"is_root_device"`
	IsReadOnly   bool   `json:"is_read_only"`
	CacheType    string `json:"cache_type"`
}

type drivePath struct {
	DriveID    string `json:"drive_id"`
	PathOnHost string `json:"path_on_host"`
}

type vsock struct {
	GuestCID uint32 `json:"guest_cid"`
	UDSPath  string `json:"uds_path"`
}

type entropy struct{}

// balloon has no omitempty: Firecracker wants the first two fields.
type balloon struct {
	AmountMib         int  `json:"amount_mib"`
	DeflateOnOOM      bool `json:"deflate_on_oom"`
	FreePageReporting bool `json:"free_page_reporting"`
}

type tokenBucket struct {
	Size       int64 `json:"size"`        // bytes
	RefillTime int64 `json:"refill_time"` // milliseconds, from empty to full
}

type serial struct {
	RateLimiter tokenBucket `json:"rate_limiter"`
}

type action struct {
	ActionType string `json:"action_type"`
}

type vmState struct {
	State string `json:"state"`
}

type snapshotCreate struct {
	SnapshotType string `json:"snapshot_type"`
	SnapshotPath string `json:"snapshot_path"`
	MemFilePath  string `json:"mem_file_path"`
}

type memBackend struct {
	BackendType string `json:"backend_type"`
	BackendPath string `json:"backend_path"`
}

type snapshotLoad struct {
	SnapshotPath        string     `json:"snapshot_path"`
	MemBackend          memBackend `json:"mem_backend"`
	TrackDirtyPages     bool       `json:"track_dirty_pages,omitempty"`
	EnableDiffSnapshots bool       `json:"enable_diff_snapshots,omitempty"`
	ResumeVM            bool       `json:"resume_vm"`
	ClockRealtime       bool       `json:"clock_realtime,omitempty"`
}

type networkInterface struct {
	IfaceID     string `json:"iface_id"`
	HostDevName string `json:"host_dev_name"`
	GuestMAC    string `json:"guest_mac"`
}

// request is one PUT of a start.
type request struct {
	path     string
	body     any
	optional bool // a Firecracker that refuses it goes on without
}

// bootArgs is the kernel's command line. reboot=k and panic=-1: a reboot and a panic reach the emulated keyboard
// controller, which is how a guest makes Firecracker exit. loglevel=1 leaves the kernel's last word ("reboot: ...",
// level emergency) on the console: Ended reads it. 8250.nr_uarts=1 and pci=off: no probing of devices that are not
// there, which Firecracker would log. The root is named here and not by is_root_device, which would add a root= of its
// own.
const bootArgs = "console=ttyS0 reboot=k panic=-1 quiet loglevel=1 pci=off 8250.nr_uarts=1 " +
	"i8042.noaux i8042.nomux i8042.dumbkbd audit=0 random.trust_cpu=on root=/dev/vda rw"

// serialLimit lets a guest write 16 MiB at once and 256 KiB a second for ever; what is more is dropped. So serial.log
// cannot fill a disk within hours, and honest output is never that much: a virtual UART's every byte is an exit to the
// host.
var serialLimit = serial{tokenBucket{Size: 16 << 20, RefillTime: 64_000}}

// ownDrive is what Firecracker calls the VM's own disk.
const ownDrive = "rootfs"

// guestCID is the guest's vsock address. It is the same for all: each Firecracker has a vsock of its own.
const guestCID = 3

// beforeAll is what a new Firecracker of version v is told before a boot and before a load. (A path in PUT /serial
// would turn the console's input off.)
func beforeAll(v version) []request {
	if v.limitsSerial() {
		return []request{{path: "/serial", body: serialLimit}}
	}
	return nil
}

// reporting is a balloon of no size, of which noid uses one thing: its guest reports the pages that it has freed, and
// Firecracker discards them (GuestRegionMmapExt::discard_range in vstate/memory.rs). They read as zeros then.
//
//   - One that was written since the base is in the log of dirty pages, so in the next Diff, with zeros: of these
//     noid makes holes (storage.PunchZeros).
//   - One that was not is in no Diff: the next checkpoint has what the base has there, and shares it. So a clone may find
//     in a free page other bytes than its source. No guest goes by them: to what a free page holds a kernel gives no
//     meaning, and one that does, as it clears or poisons pages when they are freed, does not report to a device that
//     cannot be told so (virtballoon_validate in Linux's drivers/virtio/virtio_balloon.c; Firecracker has no
//     VIRTIO_BALLOON_F_PAGE_POISON).
//
// The device's state is in the snapshot: a load needs no word of it, and a VM of an older snapshot has none.
var reporting = request{path: "/balloon", body: balloon{FreePageReporting: true}, optional: true}

// bootRequests configures m, for a Firecracker of version v, and starts it.
func bootRequests(m *vmm.Machine, v version) []request {
	requests := []request{
		{path: "/machine-config", body: machineConfig{VCPUCount: m.CPUs, MemSizeMib: m.MemMiB, TrackDirtyPages: true}},
		{path: "/boot-source", body: bootSource{m.KernelPath, m.InitrdPath, m.Cmdline(bootArgs)}},
		// Writeback: the guest's fsync is the host's. Firecracker's default, Unsafe, ignores it.
		{path: "/drives/" + ownDrive, body: drive{DriveID: ownDrive, PathOnHost: vmm.RootfsFile, CacheType: "Writeback"}},
	}
	if v.reportsFree() {
		requests = append(requests, reporting)
	}
	if m.Base {
		requests = append(requests, request{path: "/drives/base",
			body: drive{DriveID: "base", PathOnHost: vmm.BaseFile, IsReadOnly: true, CacheType: "Unsafe"}})
	}
	if m.Net { // a load opens the device of the same name
		requests = append(requests, request{path: "/network-interfaces/eth0",
			body: networkInterface{"eth0", space.Tap, net.HardwareAddr(address.GuestMAC[:]).String()}})
	}
	return append(requests,
		request{path: "/vsock", body: vsock{guestCID, VsockFile}},
		request{path: "/entropy", body: entropy{}},
		request{path: "/actions", body: action{"InstanceStart"}})
}

// loadRequest loads a snapshot from the working directory. The dirty log must be asked for at each load.
func loadRequest(v version, clock bool) request {
	body := snapshotLoad{
		SnapshotPath:  vmm.StateSnap,
		MemBackend:    memBackend{"File", vmm.MemorySnap},
		ClockRealtime: clock,
	}
	if v.tracksAtLoad() {
		body.TrackDirtyPages = true
	} else {
		body.EnableDiffSnapshots = true
	}
	return request{path: "/snapshot/load", body: body}
}
