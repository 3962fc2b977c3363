package boot

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"noid/internal/kmod"
)

// guestModules are the modules that noid's devices and root filesystem need, in the order to load them. The order
// matters where a module does not declare what it needs: virtio_ring before virtio, and a crc32c that ext4 asks the
// crypto API for by its algorithm's name.
var guestModules = []string{
	"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_mmio", "virtio_blk",
	"crc32c_generic", "crc32c-intel", "crc32c-cryptoapi", "ext4",
	"quota_v2", // of file systems made with mke2fs -O quota
	"overlay",  // the root of a VM with a base
	"vmw_vsock_virtio_transport", "virtio_console", "virtio_rng", "virtio_balloon", "virtio_net", "ipv6",
	"af_packet",       // DHCP clients open packet sockets
	"button", "evdev", // the ACPI power button, for guests that listen to it
	"i8042", "atkbd", // Ctrl+Alt+Del, which is how Firecracker asks a guest to shut down
}

// onDemand are the modules that a guest's kernel may ask for: for container engines, packet filters and tunnels, and
// what inspects sockets. Those that they need come along.
var onDemand = strings.Fields(`
	bridge br_netfilter veth dummy macvlan ipvlan vxlan 8021q tun wireguard
	nf_tables nft_compat nft_chain_nat nft_ct nft_nat nft_masq nft_redir nft_reject_inet nft_fib_inet nft_limit nft_log nft_numgen nft_hash
	nf_conntrack_netlink nfnetlink_log xt_MASQUERADE xt_conntrack xt_addrtype xt_nat xt_comment xt_tcpudp xt_mark xt_connmark xt_multiport
	xt_state xt_limit xt_LOG xt_REDIRECT xt_statistic xt_recent xt_physdev xt_owner xt_set ip_set_hash_ip ip_set_hash_net ip_set_hash_ipport
	iptable_nat iptable_filter iptable_mangle iptable_raw ip6table_nat ip6table_filter ip6table_mangle ipt_REJECT ip6t_REJECT
	inet_diag tcp_diag udp_diag unix_diag fuse loop squashfs binfmt_misc`)

const (
	// maxModules bounds what goes into an initramfs; a name is three digits there.
	maxModules = 200
	// maxModinfo bounds a module's .modinfo, in bytes: some have 10 KB.
	maxModinfo = 1 << 20
)

// moduleLimits bound an unpacked module: the largest in Debian's kernel has 8 MiB. Modules are packed with xz's default
// dictionary of 8 MiB or less.
var moduleLimits = limits{window: 64 << 20, size: 64 << 20}

// FindModules returns the directory of the modules of the kernel at kernelPath, whose uname -r is version, or "". It
// looks where an unpacked package or noid setup puts them, beside the kernel and beside the file that it is a link to,
// and then at the host's own.
func FindModules(kernelPath, version string) string {
	// The version comes from a file that may be hostile: it must not lead elsewhere.
	if version == "" || version != filepath.Base(version) || version == "." || version == ".." {
		return ""
	}
	var roots []string
	dirs := []string{filepath.Dir(kernelPath)}
	if target, err := filepath.EvalSymlinks(kernelPath); err == nil {
		dirs = append(dirs, filepath.Dir(target))
	}
	for _, dir := range dirs {
		roots = append(roots, filepath.Join(dir, "../lib/modules"), filepath.Join(dir, "modules"))
	}
	for _, root := range append(roots, "/lib/modules") {
		candidate := filepath.Join(root, version)
		if info, err := os.Stat(candidate); err == nil && info.IsDir() {
			return candidate
		}
	}
	return ""
}

// ResolveModules returns the wanted modules that are in dir, each after those that it depends on. What is missing
// counts as built into the kernel. Dependencies are read from the modules themselves: a package that was unpacked and
// not installed has no modules.dep.
func ResolveModules(dir string, wanted []string) ([]kmod.Module, error) {
	paths, err := indexModules(dir)
	if err != nil {
		return nil, fmt.Errorf("listing the modules in %q: %w", dir, err)
	}
	r := resolver{paths: paths, seen: map[string]bool{}}
	for _, name := range wanted {
		if err := r.add(name); err != nil {
			return nil, err
		}
	}
	return r.modules, nil
}

// suffixes are how distributions pack modules.
var suffixes = []string{"", ".gz", ".xz", ".zst"}

// indexModules maps each module's normalised name to its file.
func indexModules(dir string) (map[string]string, error) {
	root, err := filepath.EvalSymlinks(dir) // WalkDir does not enter a link
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, suffix, ok := strings.Cut(d.Name(), ".ko"); ok && d.Type().IsRegular() && slices.Contains(suffixes, suffix) {
			if _, dup := paths[kmod.Normal(name)]; !dup {
				paths[kmod.Normal(name)] = path
			}
		}
		return nil
	})
	return paths, err
}

type resolver struct {
	paths   map[string]string
	seen    map[string]bool
	modules []kmod.Module
}

func (r *resolver) add(name string) error {
	name = kmod.Normal(name)
	path, ok := r.paths[name]
	if !ok || r.seen[name] {
		return nil
	}
	if len(r.seen) == maxModules { // counted before they are read: each may be large
		return fmt.Errorf("the kernel's modules depend on more than %d others", maxModules)
	}
	r.seen[name] = true // before its dependencies: a cycle ends here
	data, err := readModule(path)
	if err != nil {
		return fmt.Errorf("reading module %q: %w", path, err)
	}
	m, err := inspectModule(name, data)
	if err != nil {
		return fmt.Errorf("reading module %q: %w", path, err)
	}
	for _, need := range m.Needs {
		if err := r.add(need); err != nil {
			return err
		}
	}
	r.modules = append(r.modules, m)
	return nil
}

// readModule reads and unpacks the module at path.
func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return unpackModule(f, moduleLimits)
}

// unpackModule reads a module, packed or not, within limits.
func unpackModule(r io.Reader, l limits) ([]byte, error) {
	out, _, err := decompressor(bufio.NewReader(r), l)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	data, err := io.ReadAll(io.LimitReader(out, l.size+1))
	if err == nil && int64(len(data)) > l.size {
		err = fmt.Errorf("larger than %d bytes", l.size)
	}
	return data, err
}

// inspectModule reads a module's .modinfo: NUL-separated key=value. Besides depends it honours softdep's "pre:", which
// may name algorithms that no module is called by: those are not found, and skipped.
func inspectModule(name string, data []byte) (kmod.Module, error) {
	m := kmod.Module{Name: name, Data: data}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return m, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return m, errors.New("not a kernel module: it has no .modinfo")
	}
	// A compressed section, which modules do not have, could unpack to any size.
	if section.Flags&elf.SHF_COMPRESSED != 0 || section.Size > maxModinfo {
		return m, fmt.Errorf("its .modinfo is compressed, or larger than %d bytes", maxModinfo)
	}
	info, err := section.Data()
	if err != nil {
		return m, err
	}
	for _, field := range strings.Split(string(info), "\x00") {
		switch key, value, _ := strings.Cut(field, "="); key {
		case "depends":
			for _, need := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' }) {
				m.Needs = append(m.Needs, kmod.Normal(need))
			}
		case "softdep":
			m.Needs = append(m.Needs, pre(value)...)
		case "alias":
			m.Aliases = append(m.Aliases, strings.Fields(value)...)
		}
	}
	return m, nil
}

// pre returns the modules of a softdep that come before: "pre: a b post: c".
func pre(softdep string) (names []string) {
	is := false
	for _, word := range strings.Fields(softdep) {
		if strings.HasSuffix(word, ":") {
			is = word == "pre:"
		} else if is {
			names = append(names, kmod.Normal(word))
		}
	}
	return names
}
