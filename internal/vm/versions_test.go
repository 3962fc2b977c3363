package vm

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/vmm"
)

func TestFits(t *testing.T) {
	was := checkpoint.Host{CPUVendor: "GenuineIntel", CPUModel: "Old", CPUFlags: []string{"avx", "ept", "sse"}}
	for _, tt := range []struct {
		name string
		here checkpoint.Host
		want string // in the error; "" for none
	}{
		{"the same", was, ""},
		{"a newer one", checkpoint.Host{CPUVendor: "GenuineIntel", CPUModel: "New", CPUFlags: []string{"avx", "avx2", "ept", "sse"}}, ""},
		{"nested: no EPT for the host", checkpoint.Host{CPUVendor: "GenuineIntel", CPUModel: "Old", CPUFlags: []string{"avx", "sse"}}, ""},
		{"another kernel or BIOS", checkpoint.Host{CPUVendor: "GenuineIntel", CPUModel: "Old", CPUFlags: []string{"avx", "lately_named", "sse"}}, ""},
		{"an older one", checkpoint.Host{CPUVendor: "GenuineIntel", CPUModel: "Older", CPUFlags: []string{"ept", "sse"}}, "(Older) lacks avx"},
		{"another vendor", checkpoint.Host{CPUVendor: "AuthenticAMD", CPUModel: "Zen", CPUFlags: was.CPUFlags}, "AuthenticAMD"},
	} {
		err := fits(was, tt.here)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestForGuests(t *testing.T) {
	for _, tt := range []struct {
		vendor, flag string
		want         bool
	}{
		{"AuthenticAMD", "avx512_vbmi2", true}, {"AuthenticAMD", "abm", true}, {"AuthenticAMD", "avx*", true}, {"AuthenticAMD", "abmx", false},
		{"AuthenticAMD", "svm", false}, {"GenuineIntel", "vmx", false}, {"GenuineIntel", "ssbd", false}, {"GenuineIntel", "sse4_1", true}, {"", "asimd", true},
	} {
		if got := forGuests(tt.vendor, tt.flag); got != tt.want {
			t.Errorf("%s's %s: %v", tt.vendor, tt.flag, got)
		}
	}
}

func TestKVMUsable(t *testing.T) {
	for _, path := range []string{"/dev/null", filepath.Join(t.TempDir(), "missing"), t.TempDir()} {
		if err := kvmUsable(path); err == nil {
			t.Errorf("%s is taken for KVM", path)
		}
	}
}

func TestOtherVersion(t *testing.T) {
	said := errors.New("loading the snapshot: invalid version")
	for _, tt := range []struct {
		name, saved, here string
		explained         bool
	}{
		{"the same", "1.16.1", "1.16.1", false},
		{"an older binary", "1.16.1", "1.10.0", true},
		{"a newer binary", "1.10.0", "1.16.1", true},
		{"a binary that does not tell", "1.16.1", "", false},
		{"not recorded", "", "1.16.1", false},
	} {
		err := otherVersion(vmm.Machine{Driver: "firecracker", DriverVersion: tt.saved}, tt.here, said)
		if !errors.Is(err, said) || errors.Is(err, errs.ErrHost) != tt.explained || strings.Contains(errs.Hint(err), "firecracker "+tt.saved) != tt.explained {
			t.Errorf("%s: %v, hint %q", tt.name, err, errs.Hint(err))
		}
	}
}

func TestThisHost(t *testing.T) {
	h, err := thisHost()
	if err != nil || len(h.CPUFlags) == 0 {
		t.Fatalf("%+v, %v", h, err)
	}
	if err := fits(*h, *h); err != nil {
		t.Error(err)
	}
}
