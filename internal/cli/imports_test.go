package cli

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImportDirection holds the packages to cmd → cli → vm → leaves: only vmm/drivers names the concrete drivers, and what vm builds on
// does not know vm.
func TestImportDirection(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "noid/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg, imports := words[0], words[1:]
		seen++
		if slices.Contains(imports, "noid/internal/cli") && pkg != "noid/cmd/noid" {
			t.Errorf("%s imports cli", pkg)
		}
		if slices.Contains(imports, "noid/internal/vm") && pkg != "noid/internal/cli" {
			t.Errorf("%s imports vm", pkg)
		}
		for _, driver := range []string{"noid/internal/vmm/qemu", "noid/internal/vmm/firecracker"} {
			if slices.Contains(imports, driver) && pkg != "noid/internal/vmm/drivers" {
				t.Errorf("%s imports the driver %s", pkg, driver)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d packages seen", seen)
	}
}
