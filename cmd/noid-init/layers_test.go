//go:build linux

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDisks tells the base by that it cannot be written, in whichever order the disks are.
func TestDisks(t *testing.T) {
	for _, test := range []struct{ vda, vdb, own, base string }{{"0", "1", "vda", "vdb"}, {"1", "0", "vdb", "vda"}, {"0", "", "vda", ""}} {
		dir := t.TempDir() + "/"
		for name, ro := range map[string]string{"loop0": "1", "vda": test.vda, "vdb": test.vdb} {
			if ro == "" {
				continue
			}
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name, "ro"), []byte(ro+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if own, base := disks(dir); own != test.own || base != test.base {
			t.Errorf("%+v: the disk is %q, the base %q", test, own, base)
		}
	}
}
