// Package api is what noid's front ends say of VMs, in JSON: the same documents on the command line and for programs. Text
// of a guest in them is bounded, but not made fit for a terminal.
package api

import (
	"time"

	"noid/internal/untrusted"
	"noid/internal/vm"
)

// Time is t in RFC 3339, in UTC, to the second.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// VM is a VM in a listing.
type VM struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	PID       int    `json:"pid,omitempty"`
	CPUs      int    `json:"cpus"`
	MemMiB    int    `json:"mem_mib"`
	Driver    string `json:"driver"`
	CreatedAt string `json:"created_at"`
	Error     string `json:"error,omitempty"`
	Why       string `json:"paused_because,omitempty"` // where nobody asked for that
}

// VMOf is i as a listing has it.
func VMOf(i vm.Info) VM {
	j := VM{Name: i.Name, State: string(i.State), CPUs: i.Machine.CPUs, MemMiB: i.Machine.MemMiB, Driver: i.Machine.Driver, CreatedAt: Time(i.CreatedAt), Why: i.Why}
	if i.Up() {
		j.PID = i.Process.PID
	}
	if i.Err != nil {
		j.Error = untrusted.Text([]byte(i.Err.Error()))
	}
	return j
}
