package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noid/internal/boot"
	"noid/internal/checkpoint"
	"noid/internal/disk"
	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// checkSource refuses what o's disk cannot be made of.
func checkSource(o *CreateOptions) error {
	if o.Base != "" {
		if o.Rootfs != "" {
			return errs.New(errs.ErrUsage, "an image and a root file system: a vm is made of one").Hint("leave out --image or --rootfs")
		}
		return boot.CheckExt4(o.Base)
	}
	if o.Flat {
		return errs.New(errs.ErrUsage, "--flat is for a vm of an image: one of a root file system has one disk anyway")
	}
	if err := boot.CheckExt4(o.Rootfs); err != nil {
		return err
	}
	if err := boot.CheckUnused(o.Rootfs); err != nil || o.DiskMiB == 0 {
		return err
	}
	info, err := os.Stat(o.Rootfs)
	if err == nil && info.Size() > int64(o.DiskMiB)<<20 {
		err = errs.New(errs.ErrUsage, "a disk of %d MiB is smaller than rootfs %q, which has %d bytes", o.DiskMiB, o.Rootfs, info.Size())
	}
	return err
}

// makeDisks makes the directory of a new VM with its disks and an idle console.
func (s *session) makeDisks(ctx context.Context) error {
	v := &s.vm
	if v.SourceBase == "" {
		err := stage(ctx, s.dir, v.SourceRootfs, "")
		if err == nil && v.Machine.DiskMiB > 0 {
			err = os.Truncate(s.file(vmm.RootfsFile), int64(v.Machine.DiskMiB)<<20)
		}
		return err
	}
	if !v.Machine.Base {
		if err := stageConsole(s.dir); err != nil {
			return err
		}
		return disk.Flat(ctx, s.file(vmm.RootfsFile), v.SourceBase, v.Machine.DiskMiB)
	}
	if err := boot.CheckOverlay(v.SourceKernel); err != nil {
		return err
	}
	base, err := checkpoint.HashBase(ctx, v.SourceBase)
	if err != nil {
		return err
	}
	v.Base = &base
	empty, err := disk.Empty(ctx, s.Home.ImagesDir(), v.Machine.DiskMiB)
	if err != nil {
		return err
	}
	if err := stage(ctx, s.dir, empty, v.SourceBase); err != nil {
		return err
	}
	return s.stampBase(ctx)
}

// stampBase has the VM's record tell its base as the file is by now: a copy, and a home that was moved, has another
// inode.
func (s *session) stampBase(ctx context.Context) error {
	path := s.file(vmm.BaseFile)
	info, err := os.Lstat(path)
	if err != nil || s.vm.Base.Untouched(info) {
		return err
	}
	now, err := checkpoint.HashFile(ctx, path)
	if err != nil {
		return err
	}
	if now.Sum != s.vm.Base.Sum {
		return fmt.Errorf("%s differs from the image that the vm was made of: the file is damaged", path)
	}
	s.vm.Base = &now
	return nil
}

// stage makes a VM's directory with its own disk, a clone of rootfs, with base, if it is not empty, and with an idle
// console. Without rootfs the caller makes the disk.
func stage(ctx context.Context, staging, rootfs, base string) error {
	if err := stageConsole(staging); err != nil {
		return err
	}
	if base != "" {
		if err := linkBase(ctx, staging, base); err != nil {
			return err
		}
	}
	if rootfs == "" {
		return nil
	}
	_, err := storage.Clone(ctx, filepath.Join(staging, vmm.RootfsFile), rootfs)
	return err
}

func stageConsole(staging string) error {
	if err := os.Mkdir(staging, 0o700); err != nil {
		return err
	}
	return unix.Mkfifo(filepath.Join(staging, vmm.SerialInFile), 0o600)
}

// linkBase gives the base at path a name in dir: the very inode, whose page cache all VMs share. Where that cannot be,
// as on another file system, it is copied.
func linkBase(ctx context.Context, dir, path string) error {
	to := filepath.Join(dir, vmm.BaseFile)
	if err := linkOrClone(ctx, to, path); err != nil {
		return err
	}
	info, err := os.Lstat(to)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err == nil && info.Mode().Perm()&0o222 != 0 { // a copy
		err = os.Chmod(to, 0o400)
	}
	return err
}

// linkOrClone gives the file src another name, or clones it where that cannot be.
func linkOrClone(ctx context.Context, dst, src string) error {
	err := os.Link(src, dst)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) {
		_, err = storage.Clone(ctx, dst, src)
	}
	return err
}

// withBase returns the files of a checkpoint that is being made: its base, whose sum is the image's.
func withBase(base *manifest.File) map[string]manifest.File {
	files := map[string]manifest.File{}
	if base != nil {
		files[vmm.BaseFile] = *base
	}
	return files
}
