package distro

import (
	"runtime"
	"strings"
)

// A Need is something that noid may lack on a host.
type Need int

// What noid may lack. Some distributions have it in several packages.
const (
	QEMU      Need = iota // qemu-system-ARCH
	E2fsprogs             // mke2fs, debugfs, e2fsck
	Btrfs                 // mkfs.btrfs
	Busybox               // a static one
	Kernel                // a kernel that boots in a VM, with its modules
)

func (n Need) String() string {
	return [...]string{"QEMU", "e2fsprogs", "btrfs-progs", "a static busybox", "a kernel"}[n]
}

// installers are the ways to install, by an ID of os-release: the line's beginning, and what has each Need.
var installers = map[string]struct {
	line     string
	packages map[Need]string
}{
	"debian": {"apt-get install --no-install-recommends", map[Need]string{QEMU: qemu("qemu-system-x86", "qemu-system-arm"),
		E2fsprogs: "e2fsprogs", Btrfs: "btrfs-progs", Busybox: "busybox-static", Kernel: "linux-image-cloud-" + runtime.GOARCH}},
	"ubuntu": {"apt-get install --no-install-recommends", map[Need]string{QEMU: qemu("qemu-system-x86", "qemu-system-arm"),
		E2fsprogs: "e2fsprogs", Btrfs: "btrfs-progs", Busybox: "busybox-static", Kernel: "linux-image-virtual"}},
	"fedora": {"dnf install", map[Need]string{QEMU: qemu("qemu-system-x86-core", "qemu-system-aarch64-core"),
		E2fsprogs: "e2fsprogs", Btrfs: "btrfs-progs", Busybox: "busybox", Kernel: "kernel-core"}},
	// Its QEMU is another, by another name, that noid was never run with.
	"rhel": {"dnf install", map[Need]string{E2fsprogs: "e2fsprogs", Btrfs: "btrfs-progs", Busybox: "busybox", Kernel: "kernel-core"}},
	"arch": {"pacman -S", map[Need]string{QEMU: qemu("qemu-system-x86", "qemu-system-aarch64"),
		E2fsprogs: "e2fsprogs", Btrfs: "btrfs-progs", Busybox: "busybox", Kernel: "linux"}},
	"alpine": {"apk add", map[Need]string{QEMU: qemu("qemu-system-x86_64", "qemu-system-aarch64"),
		E2fsprogs: "e2fsprogs e2fsprogs-extra", Btrfs: "btrfs-progs", Busybox: "busybox-static", Kernel: "linux-virt"}},
	"suse": {"zypper install", map[Need]string{QEMU: qemu("qemu-x86", "qemu-arm"),
		E2fsprogs: "e2fsprogs", Btrfs: "btrfsprogs", Busybox: "busybox-static", Kernel: "kernel-default"}},
}

func qemu(amd64, arm64 string) string {
	if runtime.GOARCH == "arm64" {
		return arm64
	}
	return amd64
}

// Packages returns the packages that have needs, in their order. It returns none where noid does not know the
// distribution, or what has one of needs there.
func (r Release) Packages(needs ...Need) (packages []string) {
	for _, need := range needs {
		names := strings.Fields(installers[r.family()].packages[need])
		if len(names) == 0 {
			return nil
		}
		packages = append(packages, names...)
	}
	return packages
}

// family is the first of r's IDs that noid knows, or "".
func (r Release) family() string {
	for _, id := range r.IDs {
		if _, ok := installers[id]; ok {
			return id
		}
	}
	return ""
}

// Install returns the one line that root, or another user by sudo, types to install needs. It is "" where Packages
// returns none.
func (r Release) Install(root bool, needs ...Need) string {
	packages := r.Packages(needs...)
	if len(packages) == 0 {
		return ""
	}
	line := installers[r.family()].line + " " + strings.Join(packages, " ")
	if !root {
		line = "sudo " + line
	}
	return line
}
