package setup

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"noid/internal/home"
)

func options(t *testing.T, version func(driver string) (string, error)) Options {
	t.Helper()
	h, err := home.Look(filepath.Join(t.TempDir(), "home"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return Options{Home: h, Progress: func(string) {}, Notice: func(string) {},
		Version: func(_ context.Context, driver string) (string, error) { return version(driver) }}
}

// TestChecks: each check has its line, what fails has a cure, and a VM needs one VMM, a kernel and a root filesystem.
func TestChecks(t *testing.T) {
	o := options(t, func(driver string) (string, error) {
		if driver == "qemu" {
			return "9.9", nil
		}
		return "", errors.New("none")
	})
	checks, canRun := Checks(t.Context(), o)
	if canRun {
		t.Error("VMs can run without a kernel")
	}
	var names []string
	for _, c := range checks {
		names = append(names, c.Name)
		if !c.OK && c.Cure == "" || c.OK && c.Cure != "" || c.Detail == "" {
			t.Errorf("%+v", c)
		}
	}
	want := []string{"KVM", "Firecracker", "QEMU", "kernel", "root file system", "storage", "Landlock", "no new privileges", "seccomp", "capabilities", "cgroup"}
	if !slices.Equal(names, want) {
		t.Errorf("checks %q, want %q", names, want)
	}
	if checks[1].OK || checks[1].Detail != "none" || !checks[2].OK || checks[2].Detail != "version 9.9" {
		t.Errorf("%+v, %+v", checks[1], checks[2])
	}
}
