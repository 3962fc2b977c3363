package boot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"noid/internal/storage"
)

// Files returns what a VM of the kernel at path boots from. Both files are in cacheDir, and each is made once. The
// kernel is a copy, since the user's own may be gone when a checkpoint of the VM is restored; with elfOnly it is the
// payload of a bzImage. The initramfs has noid's agent if that is asked for. It refuses what CheckKernel does.
func Files(ctx context.Context, cacheDir, path string, elfOnly, agent bool) (kernel, initrd string, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return "", "", err
	}
	k, err := InspectKernel(path)
	if err == nil {
		err = k.checkArch(path)
	}
	if err != nil {
		return "", "", err
	}
	if initrd, err = initramfs(cacheDir, path, k, agent); err != nil {
		return "", "", err
	}
	if kernel, err = cacheKernel(ctx, cacheDir, path, elfOnly && k.Format == BzImage); err != nil {
		return "", "", err
	}
	return kernel, initrd, nil
}

// cacheKernel returns the path of a copy of the kernel at path in cacheDir, or of its payload.
func cacheKernel(ctx context.Context, cacheDir, path string, extract bool) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	name := KernelPrefix
	if extract {
		name = VmlinuxPrefix
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", path, info.Size(), info.ModTime().UnixNano()))
	out := filepath.Join(cacheDir, fmt.Sprintf("%s%x", name, key[:8]))
	if _, err := os.Stat(out); err == nil {
		if err := Use(out); !errors.Is(err, fs.ErrNotExist) {
			return out, nil // a cache that cannot be written to serves as well
		}
	}
	if err := os.MkdirAll(cacheDir, 0o700); err != nil {
		return "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return out, storage.WriteOnce(out, 0o600, func(tmp *os.File) error {
		if extract {
			return ExtractVmlinux(tmp, path)
		}
		_, err := storage.CloneInto(ctx, tmp, path)
		return err
	})
}
