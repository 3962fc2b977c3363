package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// CheckBoots says whether kernel and initrd of c are there and as they were: QEMU reads them at a load too, and every
// VMM at a boot. With readData they are read, whatever their times.
func (c Record) CheckBoots(ctx context.Context, readData bool) error {
	for _, path := range slices.Sorted(maps.Keys(c.Boots)) {
		was := c.Boots[path]
		info, err := os.Stat(path)
		if err == nil && was.Untouched(info) && !readData {
			continue
		}
		if err == nil {
			var hash storage.Hash
			if hash, err = storage.HashFile(ctx, path, was.ChunkBytes()); err == nil && hash.Root() == was.Sum {
				continue
			}
			if err == nil {
				err = fmt.Errorf("%s is not the one that the VM was made with", path)
			}
		}
		if pathErr, ok := errors.AsType[*os.PathError](err); ok {
			err = fmt.Errorf("%s: %w", path, pathErr.Err)
		}
		return errs.New(errs.ErrHost, "checkpoint %s@%s needs its kernel or initrd: %w", c.VM, c.ID, err).Hint("put the file back that was there")
	}
	return nil
}

// HashBootFiles hashes what machine boots from.
func HashBootFiles(ctx context.Context, machine vmm.Machine) (map[string]manifest.File, error) {
	files := map[string]manifest.File{}
	for _, path := range []string{machine.KernelPath, machine.InitrdPath} {
		if path == "" {
			continue
		}
		file, err := HashFile(ctx, path)
		if err != nil {
			return nil, err
		}
		files[path] = file
	}
	return files, nil
}
