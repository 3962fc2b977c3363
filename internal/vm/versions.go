package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"noid/internal/errs"
	"noid/internal/storage"
	"noid/internal/store"
	"noid/internal/vmm"
)

// onKVM reports whether the guests of machine use the host's processor directly.
func onKVM(machine vmm.Machine) bool {
	return machine.Driver == "firecracker" || machine.Hardware["accel"] == "kvm"
}

// thisHost reads /proc/cpuinfo. Only x86 tells a vendor and flags there.
func thisHost() (*store.Host, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return nil, fmt.Errorf("looking at the host's processor: %w", err)
	}
	defer f.Close()
	h := &store.Host{}
	lines := bufio.NewScanner(f)
	for lines.Scan() && (h.CPUFlags == nil || h.CPUModel == "" || h.CPUVendor == "") {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "vendor_id":
			h.CPUVendor = value
		case "model name":
			h.CPUModel = value
		case "flags", "Features":
			h.CPUFlags = strings.Fields(value)
			slices.Sort(h.CPUFlags)
		}
	}
	return h, lines.Err()
}

// hostFlags are what /proc/cpuinfo calls flags and is about the host's kernel or platform, not about instructions that a
// guest may use (arch/x86/include/asm/cpufeatures.h, words 3, 7, 8 and 11).
var hostFlags = []string{"arch_perfmon", "arch_capabilities", "aperfmperf", "constant_tsc", "cpuid", "cpuid_fault", "cqm_mbm_local", "cqm_mbm_total",
	"dtherm", "ept", "ept_ad", "epb", "est", "flexpriority", "hwp", "hwp_act_window", "hwp_epp", "ibpb", "ibrs", "ibrs_enhanced", "ida", "intel_ppin", "md_clear",
	"nonstop_tsc", "nopl", "npt", "nrip_save", "pebs", "pln", "pti", "pts", "rapl", "rep_good", "ssbd", "stibp", "svm", "tpr_shadow", "tsc_known_freq",
	"tsc_reliable", "vmx", "vnmi", "vpid", "xtopology", "extd_apicid", "user_shstk", "retpoline"}

// fits says whether the state of a guest that used the processor was can be loaded on a host whose processor is here: the
// guest has seen which instructions there are, and uses them.
func fits(was, here store.Host) error {
	saved := fmt.Sprintf("it was saved on %q", was.CPUModel)
	if was.CPUVendor != here.CPUVendor {
		return fmt.Errorf("%s of %s, and this host's processor is of %s", saved, was.CPUVendor, here.CPUVendor)
	}
	var lacking []string
	for _, flag := range was.CPUFlags {
		if !slices.Contains(here.CPUFlags, flag) && !slices.Contains(hostFlags, flag) {
			lacking = append(lacking, flag)
		}
	}
	if len(lacking) > 0 {
		return fmt.Errorf("%s, and this host's processor (%s) lacks %s", saved, here.CPUModel, strings.Join(lacking, " "))
	}
	return nil
}

// loadable refuses a checkpoint that this host cannot take: errs.ErrHost. What only the VMM can tell, it tells when the
// new VM is made, which is before anything of the old one is touched: see otherVersion.
func (m *Manager) loadable(ctx context.Context, c store.Checkpoint) error {
	if err := checkBoots(ctx, c, false); err != nil {
		if !c.Memory || c.Machine.Driver != "firecracker" || ctx.Err() != nil { // which loads without them
			return err
		}
		m.warn(err.Error() + ": it can run, but not be started again once it is stopped")
	}
	if !c.Memory || c.Host == nil {
		return nil
	}
	here, err := thisHost()
	if err != nil {
		return err
	}
	if err := fits(*c.Host, *here); err != nil {
		return errs.WithHint(errs.Mark(fmt.Errorf("checkpoint %s@%s cannot be loaded here: %w", c.VM, c.ID, err), errs.ErrHost),
			"restore it on a host with such a processor")
	}
	return nil
}

// otherVersion explains why the VMM, whose version is here, did not load what was saved by machine's: another version that
// cannot is errs.ErrHost. err is what it said.
func otherVersion(machine vmm.Machine, here string, err error) error {
	if here == "" || machine.DriverVersion == "" || here == machine.DriverVersion {
		return err
	}
	hint := "load it with " + machine.Driver + " " + machine.DriverVersion + ": noid config set " + machine.Driver + " PATH"
	return errs.WithHint(errs.Mark(fmt.Errorf("it was saved by %s %s, this is %s: %w", machine.Driver, machine.DriverVersion, here, err), errs.ErrHost), hint)
}

// notLoaded is err of a VMM that did not load c, with the cause where that is its version. Only then is a process spent on asking.
func notLoaded(ctx context.Context, d Driver, c store.Checkpoint, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if errors.Is(err, errs.ErrHost) {
		if errs.Hint(err) == "" {
			err = errs.WithHint(err, fmt.Sprintf("it was saved by noid %s with %s %s", c.NoidVersion, c.Machine.Driver, c.Machine.DriverVersion))
		}
		return err
	}
	here, _ := d.Version(ctx)
	return otherVersion(c.Machine, here, err)
}

// checkBoots says whether kernel and initrd of c are there and as they were: QEMU reads them at a load too, and every VMM
// when the VM is booted again. With readData they are read, whatever their times.
func checkBoots(ctx context.Context, c store.Checkpoint, readData bool) error {
	for _, path := range slices.Sorted(maps.Keys(c.Boots)) {
		was := c.Boots[path]
		info, err := os.Stat(path)
		if err == nil && was.Untouched(info) && !readData {
			continue
		}
		if err == nil {
			var hash storage.Hash
			if hash, err = storage.HashFile(ctx, path); err == nil && hash.Root() == was.Sum {
				continue
			}
			if err == nil {
				err = fmt.Errorf("%s is not the one that the VM was made with", path)
			}
		}
		if pathErr, ok := errors.AsType[*os.PathError](err); ok {
			err = fmt.Errorf("%s: %w", path, pathErr.Err)
		}
		return errs.WithHint(errs.Mark(fmt.Errorf("checkpoint %s@%s needs its kernel or initrd: %w", c.VM, c.ID, err), errs.ErrHost),
			"put the file back that was there")
	}
	return nil
}

// boots hashes what machine boots from.
func boots(ctx context.Context, machine vmm.Machine) (map[string]store.File, error) {
	files := map[string]store.File{}
	for _, path := range []string{machine.KernelPath, machine.InitrdPath} {
		if path == "" {
			continue
		}
		file, _, err := fileOf(ctx, path)
		if err != nil {
			return nil, err
		}
		files[path] = file
	}
	return files, nil
}
