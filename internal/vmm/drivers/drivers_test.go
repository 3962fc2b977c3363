package drivers

import (
	"errors"
	"strings"
	"testing"

	"noid/internal/errs"
)

func TestDriver(t *testing.T) {
	s := New(Config{}, nil)
	for _, name := range Names() {
		d, err := s.Driver(name)
		if err != nil || d.Name() != name {
			t.Fatalf("Driver(%q): %v, %v", name, d, err)
		}
		if again, _ := s.Driver(name); again != d {
			t.Errorf("driver %s is built twice", name)
		}
	}
	_, err := s.Driver("xen")
	if !errors.Is(err, errs.ErrUsage) || !strings.Contains(errs.Hint(err), "firecracker or qemu") {
		t.Errorf("Driver(xen): %v, hint %q", err, errs.Hint(err))
	}
	if err := s.CanRun("qemu"); err != nil {
		t.Error(err)
	}
	if err := s.CanRun("firecracker"); RealKVM() != (err == nil) || err != nil && (!errors.Is(err, errs.ErrHost) || !strings.Contains(errs.Hint(err), "--driver qemu")) {
		t.Errorf("KVM is real: %v; CanRun(firecracker): %v, hint %q", RealKVM(), err, errs.Hint(err))
	}
	if s.Emulates("firecracker") || s.Emulates("qemu") == RealKVM() {
		t.Error("Emulates does not go by KVM")
	}
}
