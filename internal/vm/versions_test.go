package vm

import (
	"strings"
	"testing"

	"noid/internal/store"
)

func TestFits(t *testing.T) {
	was := store.Host{CPUVendor: "GenuineIntel", CPUModel: "Old", CPUFlags: []string{"avx", "ept", "sse"}}
	for _, tt := range []struct {
		name string
		here store.Host
		want string // in the error; "" for none
	}{
		{"the same", was, ""},
		{"a newer one", store.Host{CPUVendor: "GenuineIntel", CPUModel: "New", CPUFlags: []string{"avx", "avx2", "ept", "sse"}}, ""},
		{"nested: no EPT for the host", store.Host{CPUVendor: "GenuineIntel", CPUModel: "Old", CPUFlags: []string{"avx", "sse"}}, ""},
		{"an older one", store.Host{CPUVendor: "GenuineIntel", CPUModel: "Older", CPUFlags: []string{"ept", "sse"}}, "(Older) lacks avx"},
		{"another vendor", store.Host{CPUVendor: "AuthenticAMD", CPUModel: "Zen", CPUFlags: was.CPUFlags}, "AuthenticAMD"},
	} {
		err := fits(was, tt.here)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
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
