package qemu

import (
	"bufio"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"noid/internal/errs"
	"noid/internal/lazy"
	"noid/internal/vmm"
)

// Keys of Machine.Hardware.
const (
	hwMachine = "machine" // versioned machine type and its options, as -machine takes them
	hwAccel   = "accel"   // kvm or tcg
	hwCPU     = "cpu"     // as -cpu takes it
	hwLayout  = "layout"  // which devices argv adds, and in which order: their addresses are part of a snapshot
)

// layout is raised when argv adds, removes or reorders devices. What was saved with an older one is loaded with that.
const (
	// A balloon, of which noid uses one thing: its guest reports the pages that it has freed, which QEMU then takes out of
	// the memory's file. Whether there is a network device or a second disk says the Machine alone.
	layoutReporting   = "6"
	layoutWithNet     = "5" // layout with a network device, and perhaps a second disk: of a Machine with a network alone
	layoutWithBase    = "4" // layout with a second disk: of a Machine with a base alone
	layout            = "3"
	layoutWithSleep   = "2" // ACPI has S3, of which a guest comes back without ACPI: it cannot power off then
	layoutWithoutPort = "1" // nor is there a port for the agent
)

// layouts are all, the newest first. Those from layoutWithSleep on are old.
var layouts = []string{layoutReporting, layoutWithNet, layoutWithBase, layout, layoutWithSleep, layoutWithoutPort}

// q35Options switch off what a microVM does not need. Under TCG each legacy device costs boot time; the HPET stays on,
// as without it the kernel calibrates its timers slowly.
const q35Options = ",sata=off,smbus=off,usb=off,graphics=off,vmport=off,i8042=off"

// layoutFor is the layout of a VM that boots now. One whose memory's blocks are reserved keeps them all: its guest reports
// nothing.
func layoutFor(m *vmm.Machine, reserved bool) string {
	switch {
	case !reserved:
		return layoutReporting
	case m.Net:
		return layoutWithNet
	case m.Base:
		return layoutWithBase
	}
	return layout
}

// chooseHardware picks the hardware of a VM that boots now, but for its layout.
func (d *Driver) chooseHardware(ctx context.Context) (map[string]string, error) {
	help, err := d.binary.Ask(ctx, "-machine", "help")
	if err != nil {
		return nil, err
	}
	alias, options := "q35", q35Options
	if runtime.GOARCH == "arm64" {
		alias, options = "virt", ""
	}
	machine, ok := versionedMachine(help, alias)
	if !ok {
		return nil, d.binary.Unusable(fmt.Errorf("it has no machine type %q", alias))
	}
	hw := map[string]string{hwMachine: machine + options, hwAccel: "tcg", hwCPU: emulatedCPU()}
	if d.kvm() {
		hw[hwAccel], hw[hwCPU] = "kvm", "host"
	}
	return hw, nil
}

// emulatedCPU is the processor under TCG: all that QEMU can, but not the promise that copying byte by byte ("rep
// movsb") is fast. TCG takes an instruction's time for each byte of that; without the promise Linux and Go copy eight
// at a time, and what moves data in the guest is up to three times as fast.
func emulatedCPU() string {
	if runtime.GOARCH == "amd64" {
		return "max,erms=off,fsrm=off"
	}
	return "max"
}

// checkHardware says whether this driver can build the recorded hardware again. A machine type that the binary does not
// know is left for QEMU to refuse: asking first would cost every load a process.
func (d *Driver) checkHardware(hw map[string]string) error {
	for _, key := range []string{hwMachine, hwAccel, hwCPU, hwLayout} {
		if hw[key] == "" {
			return cannotLoad("it does not record its hardware (%s)", key)
		}
	}
	if l := hw[hwLayout]; !slices.Contains(layouts, l) {
		return cannotLoad("it has device layout %q, this noid builds %q", l, layouts[0])
	}
	switch hw[hwAccel] {
	case "tcg":
		return nil
	case "kvm":
		if d.kvm() {
			return nil
		}
		return vmm.NoKVMToLoad(fmt.Errorf("the state was saved under KVM (cpu %s), and KVM is not usable here", hw[hwCPU]))
	}
	return cannotLoad("unknown accelerator %q", hw[hwAccel])
}

func cannotLoad(format string, args ...any) error {
	return errs.Host("load this state", fmt.Errorf(format, args...))
}

var aliasOf = lazy.Regexp(`\(alias of (\S+)\)`)

// versionedMachine finds in the output of `-machine help` what alias stands for, such as pc-q35-7.2 for q35. The alias
// is the newest version that the binary knows.
func versionedMachine(help, alias string) (string, bool) {
	lines := bufio.NewScanner(strings.NewReader(help))
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), " ")
		if name != alias {
			continue
		}
		if match := aliasOf().FindStringSubmatch(rest); match != nil {
			return match[1], true
		}
	}
	return "", false
}
