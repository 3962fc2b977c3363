package vmm

import "testing"

// FuzzPanicked looks for a panic in any console's output.
func FuzzPanicked(f *testing.F) {
	f.Add([]byte("[    1.000000] Kernel panic - not syncing"))
	f.Fuzz(func(t *testing.T, b []byte) { Panicked(b) })
}
