package api

import (
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// Guest is what a guest says of itself. Every text is the guest's: sanitised.
type Guest struct {
	AgentVersion string   `json:"agent_version"`
	Kernel       string   `json:"kernel"`
	Hostname     string   `json:"hostname"`
	UptimeSec    float64  `json:"uptime_sec"`
	Load         []string `json:"load"` // over 1, 5 and 15 minutes
	MemTotal     int64    `json:"mem_total"`
	MemAvailable int64    `json:"mem_available"`
	Addresses    []string `json:"addresses"`
	Jobs         int      `json:"jobs"`
}

func guestOf(i vm.Guest) *Guest {
	g := &Guest{AgentVersion: guestWord(i.Release), Kernel: guestWord(i.Kernel), Hostname: guestWord(i.Hostname), UptimeSec: i.UptimeSec, MemTotal: i.MemTotal,
		MemAvailable: i.MemFree, Load: []string{}, Addresses: []string{}, Jobs: i.Jobs}
	for _, l := range i.Load {
		g.Load = append(g.Load, guestWord(l))
	}
	for _, a := range i.Addresses[:min(len(i.Addresses), 64)] {
		g.Addresses = append(g.Addresses, guestWord(a))
	}
	return g
}

// guestWord makes a word of the guest's fit to be printed.
func guestWord(s string) string { return untrusted.Line(s, 256) }

// Details are all that is known of a VM.
type Details struct {
	VM
	DriverVersion string            `json:"driver_version"`
	Host          string            `json:"host,omitempty"` // where it was started last
	Dir           string            `json:"dir"`
	Kernel        string            `json:"kernel"`
	BootKernel    string            `json:"boot_kernel"`
	Initrd        string            `json:"initrd"`
	Rootfs        string            `json:"rootfs"`
	DiskMiB       int64             `json:"disk_mib"`
	BootArgs      string            `json:"boot_args"`
	Hardware      map[string]string `json:"hardware"`
	RestoredFrom  string            `json:"restored_from,omitempty"`
	ForkedFrom    string            `json:"forked_from,omitempty"`
	WarmFrom      string            `json:"warm_from,omitempty"` // when its guest was kept after its boot; its uptime counts from that boot
	Agent         bool              `json:"agent"`
	Guest         *Guest            `json:"guest,omitempty"` // what its agent says, when it answers
	Image         *Image            `json:"image,omitempty"` // what it was made from, with the defaults of its commands
	LastError     string            `json:"last_error,omitempty"`
	Confinement   *vm.Confinement   `json:"confinement,omitempty"` // while it runs
	Network       Network           `json:"network"`
}

// DetailsOf is d.
func DetailsOf(d vm.Details) Details {
	m := d.Machine
	j := Details{VM: VMOf(d.Info), DriverVersion: m.DriverVersion, Host: d.Process.Host, Dir: d.Dir, Kernel: d.SourceKernel, BootKernel: m.KernelPath, Initrd: m.InitrdPath,
		Rootfs: d.SourceRootfs, BootArgs: m.BootArgs, Hardware: m.Hardware, RestoredFrom: d.RestoredFrom, ForkedFrom: d.ForkedFrom, Agent: m.Agent,
		LastError: untrusted.Text([]byte(d.LastError)), Confinement: d.Confinement,
		Network: NetworkOf(d.Network)}
	j.DiskMiB = d.DiskBytes >> 20
	if j.Hardware == nil {
		j.Hardware = map[string]string{}
	}
	if d.WarmFrom != nil {
		j.WarmFrom = Time(*d.WarmFrom)
	}
	if d.Image != nil {
		i := ImageOf(*d.Image)
		j.Image = &i
	}
	if d.Guest != nil {
		j.Guest = guestOf(*d.Guest)
	}
	return j
}
