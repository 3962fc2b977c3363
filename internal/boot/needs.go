package boot

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"noid/internal/errs"
)

// needs are what noid asks of a Linux beyond what CheckKernel refuses it for: the option of its configuration, the
// module that has it, what only a kernel has in its text that has it built in, and what goes without it.
var needs = []struct{ option, module, text, without string }{
	{"CONFIG_VIRTIO_PCI", "virtio_pci", "virtio-pci", "virtio over PCI: QEMU cannot boot it"},
	{"CONFIG_VIRTIO_MMIO", "virtio_mmio", "virtio-mmio", "virtio over MMIO: Firecracker cannot boot it"},
	{"CONFIG_VIRTIO_CONSOLE", "virtio_console", "virtio_console", "virtio console: with QEMU, exec needs --serial"},
	{"CONFIG_VIRTIO_VSOCKETS", "vmw_vsock_virtio_transport", "vmw_vsock_virtio_transport", "virtio vsock: with Firecracker, exec needs --serial"},
	{"CONFIG_VIRTIO_NET", "virtio_net", "virtio_net", "virtio net: no VM gets a network with it"},
	{"CONFIG_OVERLAY_FS", "overlay", "overlayfs: ", "overlayfs: no VM gets a disk over an image with it"},
}

// What shows that a kernel can unpack an initramfs, which noid always gives it.
const (
	initrdOption = "CONFIG_BLK_DEV_INITRD"
	initrdText   = "Initramfs unpacking failed"
)

// Lacks says what the kernel at path lacks of what noid can make use of, a line each, by its configuration, which is
// that of configPath, or is found beside it or in it, and by its modules. Without a configuration its text tells. A
// kernel without an initramfs is errs.ErrHost: noid cannot boot it. Of what is no Linux, or packed in a way that noid
// does not know, nothing is known and nothing said.
func Lacks(path, configPath string) (lacks []string, err error) {
	k, err := InspectKernel(path)
	if err != nil || k.Version == "" {
		return nil, err
	}
	modules, err := indexModules(FindModules(path, k.Version))
	if err != nil {
		modules = nil // it needs none
	}
	texts, embedded, err := k.readTexts(path)
	if errors.Is(err, errPacking) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	config, err := findConfig(path, configPath, k.Version, embedded)
	if err != nil {
		return nil, err
	}
	has := func(option, module, text string) string {
		_, isModule := modules[module]
		switch {
		case config == "":
			if isModule || texts[text] {
				return ""
			}
		case strings.Contains(config, "\n"+option+"=y\n"), isModule:
			return ""
		case strings.Contains(config, "\n"+option+"=m\n"):
			return fmt.Sprintf(" (%s is a module, and not among its modules)", module)
		}
		return "no"
	}
	if has(initrdOption, "", initrdText) != "" {
		return nil, errs.New(errs.ErrHost, "kernel %q takes no initramfs", path).Hint("build it with " + initrdOption + "=y, or 'noid setup' gets a kernel that does")
	}
	for _, n := range needs {
		if without := has(n.option, n.module, n.text); without == "no" {
			lacks = append(lacks, "no "+n.without)
		} else if without != "" {
			lacks = append(lacks, "no "+n.without+without)
		}
	}
	return lacks, nil
}

// readTexts unpacks the kernel at path once. It returns which texts of needs it has, and the configuration in it, if
// any (CONFIG_IKCONFIG).
func (k Kernel) readTexts(path string) (texts map[string]bool, config string, err error) {
	searches := []*search{{text: []byte(initrdText)}}
	for _, n := range needs {
		searches = append(searches, &search{text: []byte(n.text)})
	}
	var embedded ikconfig
	writers := []io.Writer{&embedded}
	for _, s := range searches {
		writers = append(writers, s)
	}
	if err := ExtractVmlinux(io.MultiWriter(writers...), path); err != nil {
		return nil, "", err
	}
	texts = map[string]bool{}
	for _, s := range searches {
		texts[string(s.text)] = s.found
	}
	return texts, embedded.text(), nil
}

// maxConfig bounds a configuration, in bytes: a distribution's has 300 KB.
const maxConfig = 4 << 20

// findConfig returns the configuration of the kernel at path: that of configPath if it is named, else one in its
// package, else embedded. It is "" where there is none, and begins with a newline else.
func findConfig(path, configPath, version, embedded string) (string, error) {
	if configPath != "" {
		text, err := readConfig(configPath)
		if err == nil && !strings.Contains(text, "\nCONFIG_") {
			err = errs.New(errs.ErrUsage, "%q is not a kernel's configuration", configPath).Hint("give the kernel's .config, or its /boot/config-VERSION")
		}
		return text, err
	}
	for _, near := range []string{filepath.Join(filepath.Dir(path), "config-"+version), filepath.Join(FindModules(path, version), "config")} {
		if text, err := readConfig(near); err == nil && strings.Contains(text, "\nCONFIG_") {
			return text, nil
		}
	}
	return embedded, nil
}

func readConfig(path string) (string, error) {
	f, err := input{"configuration", "a kernel's configuration"}.open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig))
	return "\n" + string(text), err
}

// ikconfig collects the packed configuration out of an unpacked kernel that is written to it: kernel/configs.c.
type ikconfig struct {
	packed []byte // from the start's mark on
	begun  bool
}

const ikStart, ikEnd = "IKCFG_ST", "IKCFG_ED"

func (c *ikconfig) Write(p []byte) (int, error) {
	switch {
	case !c.begun:
		c.packed = append(c.packed, p...)
		if i := bytes.Index(c.packed, []byte(ikStart)); i >= 0 {
			c.begun, c.packed = true, bytes.Clone(c.packed[i+len(ikStart):])
		} else {
			c.packed = bytes.Clone(c.packed[max(0, len(c.packed)-len(ikStart)+1):])
		}
	case len(c.packed) < maxConfig:
		c.packed = append(c.packed, p...)
	}
	return len(p), nil
}

// text unpacks it; "" where there is none.
func (c *ikconfig) text() string {
	end := bytes.Index(c.packed, []byte(ikEnd))
	if !c.begun || end < 0 {
		return ""
	}
	z, err := gzip.NewReader(bytes.NewReader(c.packed[:end]))
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(z, maxConfig))
	if err != nil || !bytes.Contains(text, []byte("\nCONFIG_")) {
		return ""
	}
	return "\n" + string(text)
}

// HostKernel returns the path of the kernel that this host runs. errs.ErrHost is that there is none to be seen, or that
// only root may read it.
func HostKernel(version string) (string, error) {
	for _, path := range []string{"/boot/vmlinuz-" + version, "/lib/modules/" + version + "/vmlinuz", "/boot/vmlinuz-linux", "/boot/vmlinuz-virt", "/boot/vmlinuz-lts"} {
		k, err := InspectKernel(path)
		switch {
		case errors.Is(err, os.ErrPermission):
			copied := "/var/tmp/vmlinuz-" + version
			return "", errs.New(errs.ErrHost, "only root may read this host's kernel, %s", path).
				Hint("sudo install -m 644 " + path + " " + copied + " && noid kernel import " + copied)
		case err == nil && k.Version == version:
			return path, nil
		}
	}
	return "", errs.New(errs.ErrHost, "this host's kernel, %s, is not in /boot or /lib/modules: it may be a container's host's", version).
		Hint("name the file of a kernel, or 'noid kernel import debian'")
}
