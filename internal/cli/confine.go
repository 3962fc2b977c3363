package cli

import (
	"errors"
	"fmt"
	"strings"

	"noid/internal/confine"
	"noid/internal/vm"
	"noid/internal/vmm"
)

// checkConfinement adds to doctor what confines a VMM here. None of it keeps a VM from running. dir is one to write in.
func checkConfinement(dir string, add func(name, detail, cure string, err error) bool) {
	const container = "where noid runs in a container, its settings may forbid this"
	holds, err := confine.Probe(dir)
	abi, landlockErr := confine.LandlockABI()
	switch {
	case landlockErr != nil:
	case err != nil:
		landlockErr = fmt.Errorf("not known: %w", err)
	case holds.LandlockABI == 0:
		landlockErr = errors.New("not available: the kernel has it, but it does not hold")
	}
	missing := ""
	for _, brought := range []struct {
		abi  int
		what string
	}{{3, "truncating files"}, {4, "TCP"}, {5, "ioctl on devices"}, {6, "signals"}} {
		if abi < brought.abi {
			missing += ", " + brought.what
		}
	}
	if missing != "" {
		missing = "; this kernel's does not cover " + missing[2:]
	}
	add("Landlock", fmt.Sprintf("ABI %d: a VMM writes its VM's files alone%s", abi, missing),
		"use a kernel with CONFIG_SECURITY_LANDLOCK, and landlock among its 'lsm='", landlockErr)
	line := func(name string, ok bool, detail, without string) {
		e := err
		if e == nil && !ok {
			e = errors.New("not available: " + without)
		}
		add(name, detail, container, e)
	}
	line("no new privileges", holds.NoNewPrivs, "a VMM gains none by executing a file", "the kernel refuses PR_SET_NO_NEW_PRIVS")
	line("seccomp", holds.SeccompFilters > 0, "noid's filter, and the VMM's own on top", "kernel without seccomp filters")
	if holds.Capabilities == "0" {
		line("capabilities", true, "a VMM has none", "")
	} else { // an ordinary user: the bounding set stays, but cannot be made use of
		line("capabilities", holds.NoNewPrivs, "a VMM has none that it could use", "the bounding set is "+holds.Capabilities)
	}
	group, err := confine.Cgroup()
	if err == nil {
		defer group.Discard()
	}
	add("cgroup", "each VM has its own, with limits of "+strings.Join(group.Controllers, ", "),
		"an ordinary user has cgroups below systemd's user manager: systemd-run --user --scope noid ...", err)
}

// confinement is what holds of a running VM's VMM, or nil.
func confinement(i vm.Info) *confine.Holds {
	if i.State != vmm.Running && i.State != vmm.Paused || !i.Process.Alive() {
		return nil
	}
	holds, err := confine.Of(i.Process.PID)
	if err != nil {
		return nil
	}
	return &holds
}
