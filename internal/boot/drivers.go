package boot

import (
	"bytes"
	"errors"
	"runtime"
	"slices"

	"noid/internal/errs"
	"noid/internal/kmod"
)

// drivers are those without which a kernel cannot mount the root file system: the module's name, what only a kernel has
// in its text that has it built in, and a word for it.
var drivers = []driver{
	{"virtio_blk", "virtio_blk", "driver for virtio disks"},
	{"ext4", "EXT4-fs", "ext4"},
}

type driver struct{ module, text, what string }

// CheckOverlay refuses, with an errs.ErrHost, a Linux at path that cannot lay a disk over the base of an image.
func CheckOverlay(path string) error {
	k, err := InspectKernel(path)
	if err == nil {
		err = k.checkDrivers(path, []driver{{"overlay", "overlayfs: ", "overlayfs"}})
	}
	if errors.Is(err, errs.ErrHost) {
		err = errs.WithHint(err, "'noid setup' gets a kernel that has; --flat makes one disk with a copy of the image, which needs none")
	}
	return err
}

// CheckKernel refuses what InspectKernel does, and with an errs.ErrHost a kernel for another architecture and a Linux
// that has no driver for the guest's disk or no ext4, neither built in nor among its modules.
func CheckKernel(path string) (Kernel, error) {
	k, err := InspectKernel(path)
	if err == nil {
		err = k.checkArch(path)
	}
	if err == nil {
		err = k.checkDrivers(path, drivers)
	}
	return k, err
}

// checkArch refuses a kernel that no VMM of this host boots.
func (k Kernel) checkArch(path string) error {
	if k.Arch == runtime.GOARCH {
		return nil
	}
	return errs.New(errs.ErrHost, "kernel %q is for %s, this host is %s", path, k.Arch, runtime.GOARCH).Hint("give a kernel for " + runtime.GOARCH)
}

// checkDrivers is CheckKernel's last part. It unpacks the kernel. A packing that noid does not know is no error: QEMU
// boots it.
func (k Kernel) checkDrivers(path string, drivers []driver) error {
	if k.Version == "" { // no Linux
		return nil
	}
	var modules []kmod.Module
	dir := FindModules(path, k.Version)
	if dir != "" {
		var wanted []string
		for _, d := range drivers {
			wanted = append(wanted, d.module)
		}
		var err error
		if modules, err = ResolveModules(dir, wanted); err != nil {
			return err
		}
	}
	for _, d := range drivers {
		isModule := slices.ContainsFunc(modules, func(m kmod.Module) bool { return m.Name == d.module })
		if isModule {
			continue
		}
		if builtIn, err := k.contains(path, d.text); err != nil {
			return err
		} else if builtIn {
			continue
		}
		if dir != "" {
			return errs.New(errs.ErrHost, "kernel %q has no %s, neither built in nor in %s", path, d.what, dir).Hint("'noid setup' gets a kernel that has")
		}
		return errs.New(errs.ErrHost, "kernel %q needs its modules, which are not there: it has no %s built in", path, d.what).
			Hint("name the kernel where its package has it, or put its modules into modules/" + k.Version + " beside it")
	}
	return nil
}

// contains reports whether text is in the unpacked kernel, and true where noid cannot unpack it.
func (k Kernel) contains(path, text string) (bool, error) {
	s := search{text: []byte(text)}
	err := ExtractVmlinux(&s, path)
	if errors.Is(err, errPacking) {
		return true, nil
	}
	return s.found, err
}

// search looks for text in what is written to it.
type search struct {
	text, tail []byte
	found      bool
}

func (s *search) Write(p []byte) (int, error) {
	if s.found {
		return len(p), nil
	}
	s.tail = append(s.tail, p...)
	s.found = bytes.Contains(s.tail, s.text)
	s.tail = bytes.Clone(s.tail[max(0, len(s.tail)-len(s.text)+1):])
	return len(p), nil
}
