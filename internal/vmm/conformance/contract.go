package conformance

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"noid/internal/vmm"
)

// CheckFiles looks at what d says of the files in dir, where a VM that it has started or loaded lives: its logs are
// there, and what a killed command may have left there can go.
func CheckFiles(t *testing.T, d vmm.Driver, dir string) {
	t.Helper()
	for _, name := range d.Logs() {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || !info.Mode().IsRegular() {
			t.Errorf("log %s: %v", name, err)
		}
	}
	for _, name := range d.Scratch() {
		if !filepath.IsLocal(name) {
			t.Errorf("scratch %s is not in the VM's directory", name)
		}
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			t.Errorf("scratch %s is a directory", name)
		}
	}
	if err := vmm.Remove(dir, d.Scratch()...); err != nil {
		t.Errorf("removing what a killed command may leave: %v", err)
	}
}

// CheckPaused looks at what d says of the guest in dir after a Pause.
func CheckPaused(t *testing.T, d vmm.Driver, dir string) {
	t.Helper()
	if why := d.WhyPaused(dir); why != "" {
		t.Errorf("WhyPaused: %q", why)
	}
}

// CheckLoaded compares a machine before and after Load: what depends on the host is what was saved.
func CheckLoaded(t *testing.T, d vmm.Driver, saved, loaded vmm.Machine) {
	t.Helper()
	if err := d.CanLoad(saved); err != nil {
		t.Errorf("CanLoad of what was loaded: %v", err)
	}
	if d.UsesHostCPU(saved) != d.UsesHostCPU(loaded) {
		t.Errorf("UsesHostCPU is %t after Load", d.UsesHostCPU(loaded))
	}
	if !maps.Equal(saved.Hardware, loaded.Hardware) {
		t.Errorf("Load changed the hardware from %v to %v", saved.Hardware, loaded.Hardware)
	}
}
