package confine

import (
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// system is what a dynamically linked VMM reads of the host, by strace and by QEMU's and glibc's source: libraries,
// QEMU's firmware where Debian, Fedora, Arch, Nix and Guix put it, what libnuma and glibc ask of the machine. None is
// secret.
var system = []string{
	"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/nix/store", "/gnu/store",
	"/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime", "/usr/share/zoneinfo", "/etc/libnl", "/etc/gnutls", "/etc/ssl/openssl.cnf",
	"/etc/pki/tls/openssl.cnf", "/etc/crypto-policies", "/usr/share/crypto-policies",
	"/usr/share/qemu", "/usr/share/seabios", "/usr/share/seavgabios", "/usr/share/vgabios", "/usr/share/sgabios", "/usr/share/ipxe",
	"/usr/share/qemu-firmware", "/usr/share/OVMF", "/usr/share/AAVMF", "/usr/share/edk2", "/usr/share/edk2-ovmf", "/usr/share/qemu-efi-aarch64",
	"/usr/share/qemu-kvm",
	"/proc/filesystems", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/version", "/proc/sys/vm/overcommit_memory",
	"/sys/devices/system", "/sys/bus/nd/devices", "/sys/kernel/mm/transparent_hugepage", "/sys/module/kvm", "/sys/module/kvm_intel", "/sys/module/kvm_amd",
}

// beside is where a program outside of /usr finds its own files, from its directory: QEMU looks there
// (get_relocated_path), and in the last two in a build tree.
var beside = []string{"../lib", "../lib64", "../share/qemu", "../share/seabios", "../libexec", "pc-bios", "qemu-bundle"}

// filesOf returns what the program at path reads, and what must be executable for it to start.
func filesOf(path string) (read, run []string) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path
	}
	read = append(read, system...)
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(real)} {
		for _, name := range beside {
			read = append(read, filepath.Join(dir, name))
		}
	}
	loader, script := loaderOf(real)
	if script {
		// Nobody knows what a script runs: all may be read and run, and still nothing written.
		return nil, []string{"/"}
	}
	if run = []string{real}; loader != "" {
		run = append(run, loader)
	}
	return read, run
}

// loaderOf returns the ELF interpreter of a program, "" for a static one, or that it is a script.
func loaderOf(path string) (loader string, script bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	magic := make([]byte, 2)
	if _, err := io.ReadFull(f, magic); err == nil && string(magic) == "#!" {
		return "", true
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return "", true // another format, for binfmt_misc to know
	}
	for _, segment := range program.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(segment.Open(), 4096))
		if err == nil {
			return strings.TrimRight(string(name), "\x00"), false
		}
	}
	return "", false
}
