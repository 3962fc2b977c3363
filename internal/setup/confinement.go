package setup

import (
	"errors"
	"fmt"
	"strings"

	"noid/internal/confine"
)

// checkConfinement says what confines a VMM here. None of it keeps a VM from running. dir is one to write in.
func checkConfinement(dir string) []Check {
	const container = "where noid runs in a container, its settings may forbid this"
	holds, err := confine.Probe(dir)
	line := func(name string, ok bool, detail, without string) Check {
		e := err
		if e == nil && !ok {
			e = errors.New("not available: " + without)
		}
		return check(name, detail, container, e)
	}
	privs := line("no new privileges", holds.NoNewPrivs, "a VMM gains none by executing a file", "the kernel refuses PR_SET_NO_NEW_PRIVS")
	seccomp := line("seccomp", holds.SeccompFilters > 0, "noid's filter, and the VMM's own on top", "kernel without seccomp filters")
	caps := line("capabilities", true, "a VMM has none", "")
	if holds.Capabilities != "0" { // an ordinary user: the bounding set stays, but cannot be made use of
		caps = line("capabilities", holds.NoNewPrivs, "a VMM has none that it could use", "the bounding set is "+holds.Capabilities)
	}
	group, groupErr := confine.Cgroup()
	if groupErr == nil {
		defer group.Discard()
	}
	return []Check{checkLandlock(holds, err), privs, seccomp, caps, check("cgroup", "each VM has its own, with limits of "+strings.Join(group.Controllers, ", "),
		"an ordinary user has cgroups below systemd's user manager: systemd-run --user --scope noid ...", groupErr)}
}

func checkLandlock(holds confine.Holds, probeErr error) Check {
	abi, err := confine.LandlockABI()
	switch {
	case err != nil:
	case probeErr != nil:
		err = fmt.Errorf("not known: %w", probeErr)
	case holds.LandlockABI == 0:
		err = errors.New("not available: the kernel has it, but it does not hold")
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
	return check("Landlock", fmt.Sprintf("ABI %d: a VMM writes its VM's files alone%s", abi, missing),
		"use a kernel with CONFIG_SECURITY_LANDLOCK, and landlock among its 'lsm='", err)
}
