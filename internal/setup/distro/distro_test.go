package distro

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstall reads what /etc/os-release has on real distributions, and says what one types there.
func TestInstall(t *testing.T) {
	for file, want := range map[string]string{
		"debian-12":      "apt-get install --no-install-recommends qemu-system-x86 e2fsprogs btrfs-progs busybox-static linux-image-cloud-amd64",
		"ubuntu-24.04":   "apt-get install --no-install-recommends qemu-system-x86 e2fsprogs btrfs-progs busybox-static linux-image-virtual",
		"linuxmint-22":   "apt-get install --no-install-recommends qemu-system-x86 e2fsprogs btrfs-progs busybox-static linux-image-virtual",
		"fedora-42":      "dnf install qemu-system-x86-core e2fsprogs btrfs-progs busybox kernel-core",
		"rocky-9":        "",
		"arch":           "pacman -S qemu-system-x86 e2fsprogs btrfs-progs busybox linux",
		"alpine-3.21":    "apk add qemu-system-x86_64 e2fsprogs e2fsprogs-extra btrfs-progs busybox-static linux-virt",
		"opensuse-15.6":  "zypper install qemu-x86 e2fsprogs btrfsprogs busybox-static kernel-default",
		"nixos-25.05":    "",
		"void":           "",
		"does-not-exist": "",
	} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil && file != "does-not-exist" {
			t.Fatal(err)
		}
		r := Parse(string(text))
		if got := archless(r.Install(true, QEMU, E2fsprogs, Btrfs, Busybox, Kernel)); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
		if got := archless(r.Install(false, E2fsprogs)); want != "" && !strings.HasPrefix(got, "sudo "+strings.Fields(want)[0]+" ") {
			t.Errorf("%s: without root %q", file, got)
		}
		if got := r.Install(true, E2fsprogs, Kernel); file == "rocky-9" && got != "dnf install e2fsprogs kernel-core" {
			t.Errorf("%s: %q", file, got)
		}
		if len(text) > 0 && r.Name == "" {
			t.Errorf("%s has no name", file)
		}
	}
}

// archless words a line of arm64 in the names of amd64.
func archless(line string) string {
	return strings.NewReplacer("qemu-system-arm", "qemu-system-x86", "qemu-system-aarch64", "qemu-system-x86", "qemu-arm", "qemu-x86",
		"cloud-arm64", "cloud-amd64").Replace(line)
}
