package firecracker

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"noid/internal/vmm"
)

func TestEnded(t *testing.T) {
	const (
		clean  = "2026-11-24T22:39:07.793 [anonymous-instance:main] Firecracker exiting successfully. exit_code=0\n"
		api    = "2026-11-24T22:39:07.089 [anonymous-instance:fc_api] The API server received a Get request on \"/\".\n"
		halt   = "~ # poweroff -f\r\n[   53.654330] reboot: System halted\r\n"
		reset  = "~ # reboot -f\r\n[   57.661491] reboot: Restarting system\r\n"
		panics = "~ # [   58.18] x\r\n# echo c [   58.186601] Kernel panic - not syncing: sysrq triggered crash\r\n[   58.186601] Kernel Offset: disabled\r\n"
	)
	for _, test := range []struct {
		name, log, before, serial string
		want                      vmm.Ending
	}{
		{"running", api, "", "~ # ", vmm.EndedUnknown},
		{"killed", api, "", "", vmm.EndedUnknown},
		{"poweroff", api, "", halt, vmm.EndedPoweroff},
		{"power down", api, "", "[    1.000000] reboot: Power down\r\n", vmm.EndedPoweroff},
		{"poweroff of the run before", api, halt, "", vmm.EndedUnknown},
		{"poweroff shown", api, "", halt + "~ # ", vmm.EndedUnknown},
		{"reboot", api + clean, "", reset, vmm.EndedReboot},
		{"reset without a word", api + clean, "", "~ # ", vmm.EndedReboot},
		{"killed in a reboot", api, "", reset, vmm.EndedUnknown},
		{"panic", api + clean, "", panics, vmm.EndedPanic},
		{"panic of the run before", api + clean, panics, "", vmm.EndedReboot},
		{"panic shown", api + clean, "", panics + "~ # \r\n" + reset, vmm.EndedReboot},
		{"error", api + "x Firecracker exiting with error. exit_code=1\n", "", "~ # ", vmm.EndedUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, LogFile, test.log)
			write(t, dir, vmm.SerialLogFile, test.before+test.serial)
			write(t, dir, vmm.SerialStartFile, strconv.Itoa(len(test.before)))
			if got := New("").Ended(dir); got != test.want {
				t.Errorf("Ended: %d, want %d", got, test.want)
			}
		})
	}
}

// TestEndedHostile: what a guest that took Firecracker over may have put in place of the files.
func TestEndedHostile(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	write(t, other, "log", "x Firecracker exiting successfully. exit_code=0\n")
	if err := os.Symlink(filepath.Join(other, "log"), filepath.Join(dir, LogFile)); err != nil {
		t.Fatal(err)
	}
	write(t, dir, vmm.SerialLogFile, "[    1.000000] reboot: System halted\n")
	for _, start := range []string{"-5", "99999999", "x", "9223372036854775807", ""} {
		write(t, dir, vmm.SerialStartFile, start)
		if got := New("").Ended(dir); got != vmm.EndedPoweroff {
			t.Errorf("Ended with start %q: %d, want %d: the link is not followed", start, got, vmm.EndedPoweroff)
		}
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
