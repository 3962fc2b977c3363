package setup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"noid/internal/home"
	"noid/internal/image"
	"noid/internal/kvm"
	"noid/internal/storage"
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

// TestExamine: each check has its line, what fails has a cure, and a VM needs one VMM, a kernel and a root filesystem.
func TestExamine(t *testing.T) {
	o := options(t, func(driver string) (string, error) {
		if driver == "qemu" {
			return "9.9", nil
		}
		return "", errors.New("none")
	})
	if err := os.MkdirAll(filepath.Join(o.Home.ImagesDir(), "sha256", "0123"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Home.ImagesDir(), "sha256", "0123", image.BaseFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := Examine(t.Context(), o, "qemu")
	checks := r.Checks
	if r.CanRun {
		t.Error("VMs can run without a kernel")
	}
	if r.Host.Kernel == "" || r.Home.FileSystem == "unknown" || r.Driver != "qemu" || r.VMMs["qemu"] != "9.9" || len(r.VMMs) != 1 || r.Images != 1 {
		t.Errorf("%+v", r)
	}
	if shares, err := storage.Reflinks(home.Existing(o.Home.Dir())); err != nil || shares != r.Home.Reflinks {
		t.Errorf("reflinks %t, %v; the report says %t", shares, err, r.Home.Reflinks)
	}
	if _, err := kvm.Check(); (err == nil) != (r.KVM == "real") {
		t.Errorf("KVM %q, the probe says %v", r.KVM, err)
	}
	o.Config.Image = "debian:12"
	if i := slices.IndexFunc(Examine(t.Context(), o, "qemu").Checks, func(c Check) bool { return c.Name == "root file system" && c.OK }); i < 0 {
		t.Error("an image is no root file system")
	}
	var names []string
	for _, c := range checks {
		names = append(names, c.Name)
		if !c.OK && c.Cure == "" || c.OK && c.Cure != "" || c.Detail == "" {
			t.Errorf("%+v", c)
		}
	}
	want := []string{"KVM", "Firecracker", "QEMU", "kernel", "root file system", "storage", "Landlock", "no new privileges", "seccomp", "capabilities", "cgroup", "network"}
	if !slices.Equal(names, want) {
		t.Errorf("checks %q, want %q", names, want)
	}
	if checks[1].OK || checks[1].Detail != "none" || !checks[2].OK || checks[2].Detail != "version 9.9" {
		t.Errorf("%+v, %+v", checks[1], checks[2])
	}
}
