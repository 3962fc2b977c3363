package checkpoint

import (
	"strings"
	"testing"
)

func TestFits(t *testing.T) {
	was := Host{CPUVendor: "GenuineIntel", CPUModel: "Old", CPUFlags: []string{"avx", "ept", "sse"}}
	for _, tt := range []struct {
		name string
		here Host
		want string // in the error; "" for none
	}{
		{"the same", was, ""},
		{"a newer one", Host{CPUVendor: "GenuineIntel", CPUModel: "New", CPUFlags: []string{"avx", "avx2", "ept", "sse"}}, ""},
		{"nested: no EPT for the host", Host{CPUVendor: "GenuineIntel", CPUModel: "Old", CPUFlags: []string{"avx", "sse"}}, ""},
		{"another kernel or BIOS", Host{CPUVendor: "GenuineIntel", CPUModel: "Old", CPUFlags: []string{"avx", "lately_named", "sse"}}, ""},
		{"an older one", Host{CPUVendor: "GenuineIntel", CPUModel: "Older", CPUFlags: []string{"ept", "sse"}}, "(Older) lacks avx"},
		{"another vendor", Host{CPUVendor: "AuthenticAMD", CPUModel: "Zen", CPUFlags: was.CPUFlags}, "AuthenticAMD"},
	} {
		err := Fits(was, tt.here)
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

func TestThisHost(t *testing.T) {
	h, err := ThisHost()
	if err != nil || len(h.CPUFlags) == 0 {
		t.Fatalf("%+v, %v", h, err)
	}
	if err := Fits(*h, *h); err != nil {
		t.Error(err)
	}
}
