// Package internal_test holds the packages to their directions.
package internal_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// edges are all the imports that noid's own packages may have of one another: cmd → cli → vm → what vm is built of →
// leaves. A new one is a decision: state it here. Tests, test/ and bench/ are free.
var edges = map[string]string{
	"cmd/noid":       "cli network/space",
	"cmd/noid-agent": "agent link/files link/tarfs version",
	"cmd/noid-net":   "network/server",
	"cmd/noid-init":  "network/address",
	"cmd/noid-sshd":  "sshd",

	"api":     "errs image image/source network network/control network/lab network/policy secret untrusted vm",
	"cli":     "api config errs helper hook image image/source image/store kernels mcp network network/grant network/lab network/policy secret serve setup sshconf telemetry untrusted version vm vmm/drivers",
	"hook":    "errs shell",
	"mcp":     "api errs home image image/source lazy shell vm",
	"serve":   "api checkpoint e2b errs image image/source image/store lazy network network/control page secret storage telemetry untrusted vm",
	"e2b":     "api errs untrusted vm",
	"cli/man": "cli version",
	"vm": "boot checkpoint config confine console disk errs helper home image image/source image/store kernels lazy link link/files link/tarfs link/tree link/wire manifest network network/address network/ca network/control network/grant network/lab " +
		"network/policy network/program network/proxy pack proc secret sshconf sshd/program storage storage/volume untrusted vmm",
	"vm/vmtest": "errs link/wire proc vmm",

	"vmm":             "confine errs lazy network/space proc storage untrusted",
	"vmm/drivers":     "errs kvm network/space vmm vmm/firecracker vmm/qemu",
	"vmm/firecracker": "errs lazy link/wire network/address network/space proc storage untrusted vmm",
	"vmm/qemu":        "errs helper lazy link/mux link/wire network/address network/space proc storage untrusted vmm",
	"helper":          "console errs link network network/control network/lab network/space proc vmm",
	"proc":            "confine errs",
	"confine":         "storage",

	"network":           "errs manifest storage untrusted",
	"network/address":   "",
	"network/ca":        "",
	"network/control":   "errs network network/grant vmm",
	"network/dhcp":      "network/address",
	"network/grant":     "errs lazy",
	"network/intercept": "network/ca network/control network/grant",
	"network/lab":       "errs lazy manifest network network/address storage",
	"network/nettest":   "network/address",
	"network/policy":    "errs lazy network network/address",
	"network/ports":     "network network/control",
	"network/program":   "errs storage",
	"network/proxy":     "errs",
	"network/resolver":  "network/address",
	"network/server":    "confine network network/address network/ca network/control network/dhcp network/grant network/intercept network/lab network/policy network/ports network/proxy network/resolver network/space network/stack proc untrusted vmm",
	"network/space":     "confine errs network/address proc",
	"network/stack":     "network/address network/control network/lab",

	"vmm/conformance":            "disk errs helper link link/wire network/address network/space proc storage untrusted vmm",
	"vmm/conformance/guestfiles": "boot",
	"vmm/conformance/tinyguest":  "errs vmm",

	"agent":         "agent/changes agent/jks agent/login kmod link/mux link/tree link/wire network/address",
	"agent/changes": "agent/jks link/tree",
	"agent/jks":     "",
	"agent/login":   "link/wire",
	"sshd":          "agent/login link/wire",
	"sshd/program":  "errs",
	"sshconf":       "errs shell storage",
	"link":          "errs link/wire untrusted",
	"link/files":    "",
	"link/mux":      "",
	"link/tarfs":    "errs",
	"link/tree":     "",
	"link/wire":     "",
	"console":       "errs lazy untrusted vmm",

	"checkpoint":     "errs image manifest network pack proc storage untrusted vmm",
	"manifest":       "errs storage",
	"page":           "",
	"pack":           "storage untrusted",
	"home":           "checkpoint errs image manifest proc storage vmm",
	"secret":         "errs manifest network/ca network/control network/grant storage untrusted",
	"storage":        "errs",
	"storage/volume": "errs home shell storage vmm",
	"boot":           "errs kmod lazy storage",
	"kmod":           "",
	"kernels":        "boot errs lazy storage",

	"setup":        "boot config confine errs home image kernels kvm network/space setup/debian setup/distro storage storage/volume",
	"setup/debian": "boot errs kernels lazy setup/distro storage",
	"setup/distro": "",
	"config":       "errs lazy network network/policy storage",

	"disk":            "errs storage",
	"image":           "errs",
	"image/base":      "image/flatten untrusted",
	"image/flatten":   "untrusted",
	"image/imagetest": "image/imagetest/listing",
	"image/source":    "errs image lazy storage untrusted",
	"image/store":     "errs image image/base image/flatten image/source manifest storage",

	"errs": "", "image/imagetest/listing": "", "kvm": "", "lazy": "", "shell": "", "telemetry": "", "untrusted": "", "version": "",
}

// TestImports fails for an edge that is not on the list, and for one on the list that is none any more.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "noid/internal/...", "noid/cmd/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	short := func(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, "noid/"), "internal/") }
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := short(words[0])
		list, known := edges[pkg]
		if !known && pkg != "internal" {
			t.Errorf("package %s is not on the list", pkg)
		}
		seen++
		allowed := strings.Fields(list)
		var have []string
		for _, path := range words[1:] {
			if strings.HasPrefix(path, "noid/") {
				have = append(have, short(path))
			}
		}
		for _, to := range have {
			if !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s", pkg, to)
			}
		}
		for _, to := range allowed {
			if !slices.Contains(have, to) {
				t.Errorf("%s does not import %s any more", pkg, to)
			}
		}
	}
	if seen < len(edges) {
		t.Errorf("%d packages seen, %d are on the list", seen, len(edges))
	}
}

// TestDriversStayUnnamed finds the name of no driver in the domain, and in the command line only where drivers are
// wired.
func TestDriversStayUnnamed(t *testing.T) {
	name := regexp.MustCompile(`(?i)firecracker|qemu`)
	wiring := regexp.MustCompile(`drivers\.Config\{`)
	for _, pattern := range []string{"vm/*.go", "vm/vmtest/*.go", "cli/*.go", "home/*.go", "helper/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i, line := range strings.Split(string(data), "\n") {
				if name.MatchString(line) && !(strings.HasPrefix(file, "cli/") && wiring.MatchString(line)) {
					t.Errorf("%s:%d names a driver: %s", file, i+1, strings.TrimSpace(line))
				}
			}
		}
	}
}
