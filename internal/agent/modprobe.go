package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noid/internal/kmod"
)

const (
	// modulesFile is where noid-init has left the modules that the kernel may ask for.
	modulesFile = "/dev/.noid-modules"
	// modprobeFile names the program that the kernel runs for a module that it wants:
	// Documentation/admin-guide/sysctl/kernel.rst.
	modprobeFile = "/proc/sys/kernel/modprobe"
)

// offerModules has the kernel ask this program for modules, unless the root file system has the kernel's own.
func offerModules() {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return
	}
	if _, err := os.Stat(filepath.Join("/lib/modules", unix.ByteSliceToString(name.Release[:]), "modules.dep")); err == nil {
		return
	}
	if path, err := os.Readlink(self); err == nil && exists(path) && exists(modulesFile) {
		os.WriteFile(modprobeFile, []byte(path), 0)
	}
}

// Modprobe is what the kernel runs as "modprobe -q -- NAME".
func Modprobe(name string) error {
	f, err := os.Open(modulesFile)
	if err != nil {
		return err
	}
	defer f.Close()
	return kmod.Load(f, name, func(_ string, data []byte) error {
		if err := unix.InitModule(data, ""); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("loading it: %w", err)
		}
		return nil
	})
}
