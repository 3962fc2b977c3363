package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// onKVM reports whether the guests of machine use the host's processor directly.
func onKVM(machine vmm.Machine) bool {
	return machine.Driver == "firecracker" || machine.Hardware["accel"] == "kvm"
}

// thisHost reads /proc/cpuinfo. Only x86 tells a vendor and flags there.
func thisHost() (*checkpoint.Host, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return nil, fmt.Errorf("looking at the host's processor: %w", err)
	}
	defer f.Close()
	h := &checkpoint.Host{}
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

// guestFlags are what /proc/cpuinfo of x86 calls instructions and modes that a guest finds and then relies on (the kernel's
// arch/x86/include/asm/cpufeatures.h). All else there is about the host: its kernel's bookkeeping, its mitigations, its
// platform. Those come and go with a kernel or a BIOS setting, and a restore is not to be refused for them. A star stands
// for any ending.
var guestFlags = []string{"3dnow*", "abm", "adx", "aes", "amx*", "avx*", "bmi1", "bmi2", "cldemote", "clflush*", "clwb", "clzero", "cmov", "cmpccxadd",
	"cx16", "cx8", "erms", "f16c", "fma*", "fpu", "fsgsbase", "fsr*", "fxsr*", "fzrm", "gfni", "hle", "ibt", "invpcid", "la57", "lahf_lm", "lm", "misalignsse",
	"mmx*", "movbe", "movdir*", "mwaitx", "nx", "ospke", "pae", "pcid", "pclmulqdq", "pdpe1gb", "pge", "pku", "pni", "popcnt", "pse*", "ptwrite", "rdpid",
	"rdrand", "rdseed", "rdtscp", "rtm", "serialize", "sha*", "shstk", "sm3", "sm4", "smap", "smep", "sse*", "ssse3", "syscall", "tbm", "tsc", "tsc_adjust",
	"tsc_deadline_timer", "umip", "user_shstk", "vaes", "vpclmulqdq", "waitpkg", "wbnoinvd", "x2apic", "xgetbv1", "xop", "xsave*"}

// forGuests reports whether a guest may rely on a flag. Other processors than x86 name no vendor, and list instructions alone.
func forGuests(vendor, flag string) bool {
	return vendor == "" || slices.ContainsFunc(guestFlags, func(f string) bool {
		begin, star := strings.CutSuffix(f, "*")
		return flag == f || star && strings.HasPrefix(flag, begin)
	})
}

// fits says whether the state of a guest that used the processor was can be loaded on a host whose processor is here: the
// guest has seen which instructions there are, and uses them.
func fits(was, here checkpoint.Host) error {
	saved := fmt.Sprintf("it was saved on %q", was.CPUModel)
	if was.CPUVendor != here.CPUVendor {
		return fmt.Errorf("%s of %s, and this host's processor is of %s", saved, was.CPUVendor, here.CPUVendor)
	}
	var lacking []string
	for _, flag := range was.CPUFlags {
		if !slices.Contains(here.CPUFlags, flag) && forGuests(was.CPUVendor, flag) {
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
func (m *Manager) loadable(ctx context.Context, c checkpoint.Record) error {
	if err := checkBoots(ctx, c, false); err != nil {
		if !c.Memory || c.Machine.Driver != "firecracker" || ctx.Err() != nil { // which loads without them
			return err
		}
		m.warn(err.Error() + ": it can run, but not be started again once it is stopped")
	}
	if c.Memory && c.Machine.Driver == "firecracker" { // QEMU's driver knows by itself
		if err := kvmUsable("/dev/kvm"); err != nil {
			return errs.WithHint(errs.Mark(fmt.Errorf("checkpoint %s@%s cannot be loaded here: it needs KVM: %w", c.VM, c.ID, err), errs.ErrHost),
				"check that /dev/kvm is there and yours to open, or restore it on another host")
		}
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
func notLoaded(ctx context.Context, d Driver, c checkpoint.Record, err error) error {
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

// kvmVersion is KVM_GET_API_VERSION of linux/kvm.h, which answers 12 since 2007.
const kvmVersion = 0xae00

// kvmUsable says why the device at path is no KVM that can be opened.
func kvmUsable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := unix.IoctlRetInt(int(f.Fd()), kvmVersion); err != nil {
		return fmt.Errorf("%s is no KVM: %w", path, err)
	}
	return nil
}

// checkBoots says whether kernel and initrd of c are there and as they were: QEMU reads them at a load too, and every VMM
// when the VM is booted again. With readData they are read, whatever their times.
func checkBoots(ctx context.Context, c checkpoint.Record, readData bool) error {
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

// rehome has machine boot from the home's own kernel and initrd of the same names where those recorded are not there: the home
// was moved or copied. It returns files by their new paths; whether they are the same, checkBoots says.
func (m *Manager) rehome(machine *vmm.Machine, files map[string]manifest.File) map[string]manifest.File {
	files = maps.Clone(files)
	for _, path := range []*string{&machine.KernelPath, &machine.InitrdPath} {
		here := filepath.Join(m.Home.KernelsDir(), filepath.Base(*path))
		if _, err := os.Stat(*path); *path == "" || !missing(err) {
			continue
		}
		if _, err := os.Stat(here); err != nil {
			continue
		}
		if file, ok := files[*path]; ok {
			delete(files, *path)
			files[here] = file
		}
		*path = here
	}
	return files
}

// boots hashes what machine boots from.
func boots(ctx context.Context, machine vmm.Machine) (map[string]manifest.File, error) {
	files := map[string]manifest.File{}
	for _, path := range []string{machine.KernelPath, machine.InitrdPath} {
		if path == "" {
			continue
		}
		file, err := fileOf(ctx, path)
		if err != nil {
			return nil, err
		}
		files[path] = file
	}
	return files, nil
}
