package qemu

import (
	"strconv"
	"strings"
)

// wake wakes a guest that has put itself to sleep: to RAM (ACPI's S3, in machines of before layout 3), or to idle. QEMU
// knows of the first alone. The second is woken by the power button, which says nothing else to a guest that sleeps.
func (c *client) wake() error {
	status, err := c.status()
	switch {
	case err != nil:
		return err
	case status == "suspended":
		return c.do("system_wakeup", nil, nil)
	case status == "running" && c.idles():
		return c.do("system_powerdown", nil, nil)
	}
	return nil
}

// The register of q35's ACPI that says which events reach the guest (ACPI, 4.8.3.1.2), where SeaBIOS puts it, and its
// bit for the power button.
const (
	pm1Enable   = "0x602"
	powerButton = 1 << 8
)

// idles reports whether the guest sleeps to idle: its kernel has taken its disk out of service, and waits for the power
// button. A kernel that boots has no use for the button yet. It is false where QEMU cannot tell, as before 7.2.
func (c *client) idles() bool {
	var devices []struct{ Name, Path string }
	if c.do("x-query-virtio", nil, &devices) != nil {
		return false
	}
	disks := 0
	for _, d := range devices {
		if d.Name != "virtio-blk" {
			continue
		}
		disks++
		var disk struct {
			Status struct{ Statuses []string }
		}
		if c.do("x-query-virtio-status", map[string]any{"path": d.Path}, &disk) != nil || len(disk.Status.Statuses) > 0 {
			return false
		}
	}
	var port string // such as "portw[0x0602] = 0x0120"
	if c.do("human-monitor-command", map[string]any{"command-line": "i /xh " + pm1Enable}, &port) != nil {
		return false
	}
	_, word, _ := strings.Cut(strings.TrimSpace(port), "= ")
	enabled, err := strconv.ParseUint(word, 0, 16)
	return disks > 0 && err == nil && enabled != 1<<16-1 && enabled&powerButton != 0 // all ones: nothing is there
}
