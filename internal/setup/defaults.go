package setup

import (
	"context"
	"os"

	"noid/internal/boot"
	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/kernels"
)

// Set sets a default. A file that it names must be what the key is for; a kernel may be named as the home keeps it.
// Setting "storage" moves the home's storage.
func Set(ctx context.Context, o Options, key, value string) error {
	if key == StorageKey {
		return SetStorage(ctx, o, value, "config set storage "+value)
	}
	if key == "kernel" {
		value = kernels.Path(o.Home.KernelsDir(), value)
	}
	return config.Set(o.Home.ConfigPath(), key, value, func(key, value string) error {
		if err := checkFile(key, value); err != nil {
			return err
		}
		return o.Home.Make()
	})
}

// Unset goes back to noid's own default. Unsetting "storage" moves the storage out of its volume.
func Unset(ctx context.Context, o Options, key string) error {
	if key == StorageKey {
		return UnsetStorage(ctx, o, "config unset storage")
	}
	return config.Unset(o.Home.ConfigPath(), key)
}

// checkFile is what Set asks of a file beyond being there.
func checkFile(key, value string) error {
	switch key {
	case "kernel":
		return checkKernel(value)
	case "rootfs":
		return boot.CheckExt4(value)
	case "firecracker", "qemu":
		if info, err := os.Stat(value); err == nil && (info.IsDir() || info.Mode()&0o111 == 0) {
			return errs.New(errs.ErrUsage, "%q is not an executable file", value)
		}
	}
	return nil
}
