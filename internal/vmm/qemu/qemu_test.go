package qemu

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
	"noid/internal/vmm"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestArgv(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("NOT RUN: the golden files are of an amd64 host")
	}
	tcg := map[string]string{hwMachine: "pc-q35-7.2" + q35Options, hwAccel: "tcg", hwCPU: "max", hwLayout: layout}
	kvm := map[string]string{hwMachine: "pc-q35-9.0" + q35Options, hwAccel: "kvm", hwCPU: "host", hwLayout: layout}
	old := map[string]string{hwMachine: "pc-q35-7.2" + q35Options, hwAccel: "tcg", hwCPU: "max", hwLayout: layoutWithoutPort}
	sleeps := map[string]string{hwMachine: "pc-q35-7.2" + q35Options, hwAccel: "tcg", hwCPU: "max", hwLayout: layoutWithSleep}
	based := map[string]string{hwMachine: "pc-q35-7.2" + q35Options, hwAccel: "tcg", hwCPU: "max", hwLayout: layoutWithBase}
	networked := map[string]string{hwMachine: "pc-q35-7.2" + q35Options, hwAccel: "tcg", hwCPU: "max", hwLayout: layoutWithNet}
	reporting := map[string]string{hwMachine: "pc-q35-7.2" + q35Options, hwAccel: "tcg", hwCPU: "max", hwLayout: layoutReporting}
	for _, test := range []struct {
		name     string
		m        vmm.Machine
		incoming bool
	}{
		{"boot", vmm.Machine{CPUs: 1, MemMiB: 128, KernelPath: "/k/vmlinuz", Hardware: tcg}, false},
		{"old", vmm.Machine{CPUs: 1, MemMiB: 128, KernelPath: "/k/vmlinuz", Hardware: old}, true},
		{"sleeps", vmm.Machine{CPUs: 1, MemMiB: 128, KernelPath: "/k/vmlinuz", Hardware: sleeps}, true},
		{"base", vmm.Machine{CPUs: 1, MemMiB: 128, KernelPath: "/k/vmlinuz", Base: true, DiskMiB: 8192, BootArgs: "c", Hardware: based}, false},
		{"net", vmm.Machine{CPUs: 1, MemMiB: 128, KernelPath: "/k/vmlinuz", Base: true, Net: true, Hardware: networked}, false},
		{"pair", vmm.Machine{CPUs: 1, MemMiB: 128, KernelPath: "/k/vmlinuz", Net: true, NetPair: true, Hardware: networked}, false},
		{"reports", vmm.Machine{CPUs: 1, MemMiB: 128, KernelPath: "/k/vmlinuz", Base: true, Net: true, Hardware: reporting}, false},
		{"load", vmm.Machine{CPUs: 4, MemMiB: 2048, KernelPath: "/k/a,b", InitrdPath: "/k/initrd", BootArgs: "a=b c", Hardware: kvm}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := strings.Join(argv(&test.m, test.incoming), "\n") + "\n"
			path := filepath.Join("testdata", "argv-"+test.name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("argv (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVersionedMachine(t *testing.T) {
	help := "Supported machines are:\n" +
		"microvm              microvm (i386)\n" +
		"pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-7.2)\n" +
		"q35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-7.2)\n" +
		"pc-q35-7.2           Standard PC (Q35 + ICH9, 2009)\n"
	for _, test := range []struct {
		help, alias, want string
		ok                bool
	}{
		{help, "q35", "pc-q35-7.2", true},
		{help, "virt", "", false},
		{help, "microvm", "", false},
		{"", "q35", "", false},
	} {
		if got, ok := versionedMachine(test.help, test.alias); got != test.want || ok != test.ok {
			t.Errorf("versionedMachine(%q): %q, %v; want %q, %v", test.alias, got, ok, test.want, test.ok)
		}
	}
}

// TestLoadRefuses checks that hardware which cannot be built is refused before anything is touched.
func TestLoadRefuses(t *testing.T) {
	good := map[string]string{hwMachine: "pc-q35-7.2", hwAccel: "tcg", hwCPU: "max", hwLayout: layout}
	for _, test := range []struct{ name, key, value, want string }{
		{"kvm", hwAccel, "kvm", "KVM"},
		{"unknown accelerator", hwAccel, "hvf", `"hvf"`},
		{"layout", hwLayout, "99", `"99"`},
		{"no machine", hwMachine, "", "machine"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			m := vmm.Machine{CPUs: 1, MemMiB: 64, Hardware: map[string]string{}}
			for k, v := range good {
				m.Hardware[k] = v
			}
			m.Hardware[test.key] = test.value
			_, err := New("", noKVM).Load(t.Context(), dir, &m, vmm.Saved{})
			if !errors.Is(err, errs.ErrHost) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Load: %v, want one of %v that names %s", err, errs.ErrHost, test.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestEnded(t *testing.T) {
	const (
		shutdown = `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}` + "\r\n"
		reset    = `{"event": "RESUME"}` + "\r\n" + `{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}` + "\r\n"
		signal   = `{"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-signal"}}` + "\r\n"
		panic    = "[   12.345678] Kernel panic - not syncing: sysrq triggered crash\r\n[   12.345679] CPU: 0 PID: 1\r\n"
	)
	for _, test := range []struct {
		name, events, console string
		want                  vmm.Ending
	}{
		{"poweroff", shutdown, "", vmm.EndedPoweroff},
		{"poweroff after a panic's text", shutdown, panic, vmm.EndedPoweroff},
		{"reboot", reset, "~ # reboot -f\r\n", vmm.EndedReboot},
		{"panic", reset, "~ # " + panic, vmm.EndedPanic},
		{"panic, long ago", reset, panic + "~ # reboot -f\r\n", vmm.EndedReboot},
		{"panic, only spoken of", reset, "Kernel panic - not syncing\r\n", vmm.EndedReboot},
		{"panic beyond the tail", reset, panic + strings.Repeat("[   12.345680] more\r\n", vmm.SerialTail/20), vmm.EndedReboot},
		{"killed", signal, "", vmm.EndedUnknown},
		{"no word", "", panic, vmm.EndedUnknown},
		{"the last counts", shutdown + reset, "", vmm.EndedReboot},
		{"a torn line", shutdown[:40] + "\n", "", vmm.EndedUnknown},
		{"far back", strings.Repeat(`{"event": "RTC_CHANGE"}`+"\r\n", eventsTail) + shutdown, "", vmm.EndedPoweroff},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, eventsOutFile), test.events)
			write(t, filepath.Join(dir, vmm.SerialLogFile), test.console)
			if got := New("", noKVM).Ended(dir); got != test.want {
				t.Errorf("Ended: %d, want %d", got, test.want)
			}
		})
	}
	t.Run("link", func(t *testing.T) { // a link to another VM's events is not followed
		other, dir := t.TempDir(), t.TempDir()
		write(t, filepath.Join(other, eventsOutFile), shutdown)
		if err := os.Symlink(filepath.Join(other, eventsOutFile), filepath.Join(dir, eventsOutFile)); err != nil {
			t.Fatal(err)
		}
		if got := New("", noKVM).Ended(dir); got != vmm.EndedUnknown {
			t.Errorf("Ended: %d, want %d", got, vmm.EndedUnknown)
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func noKVM() bool { return false }
