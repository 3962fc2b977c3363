// Package disk makes the disks of VMs that are made from an image: an empty one, to lie over the image's base, or, for
// kernels without overlayfs, one with all of the base in it. Both are ext4 with a journal, made by e2fsprogs.
package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

// journalMiB is how long the journal is. All of it is used before long, and copied with the disk where there are no
// reflinks.
const journalMiB = 32

// growBlocks is up to how many blocks of 4 KiB the empty disk has room for group descriptors, 2 TiB: that takes 1 MiB.
// When it grows further, the kernel goes on in another way (meta_bg).
const growBlocks = 2 << 40 / 4096

// Empty returns an empty ext4 of mib MiB in dir, to be cloned. It is made once; it takes about 1 MiB, the rest is a
// hole. Without e2fsprogs it is errs.ErrHost.
func Empty(ctx context.Context, dir string, mib int) (string, error) {
	path := filepath.Join(dir, fmt.Sprintf(emptyFile, mib))
	if _, err := os.Lstat(path); err == nil {
		return path, nil
	}
	err := storage.WriteOnce(path, 0o400, func(f *os.File) error {
		if err := f.Truncate(int64(mib) << 20); err != nil {
			return err
		}
		// Nothing is written to what is a hole: that reads as zeros.
		options := "nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0"
		if int64(mib)<<20/4096 < growBlocks {
			options += fmt.Sprintf(",resize=%d", int64(growBlocks))
		}
		return run(ctx, f, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "1", "-J", fmt.Sprintf("size=%d", journalMiB), "-E", options)
	})
	if err != nil {
		return "", fmt.Errorf("making an empty disk: %w", err)
	}
	return path, nil
}

// emptyFile is the name of an empty disk of so many MiB.
const emptyFile = "empty-%d.ext4"

// RemoveEmpty removes from dir what Empty has made there, and returns how many bytes of disk that had.
func RemoveEmpty(dir string) (freed int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		var mib int
		if _, err := fmt.Sscanf(e.Name(), emptyFile, &mib); err != nil || e.Name() != fmt.Sprintf(emptyFile, mib) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		_, bytes, _ := storage.Usage(path)
		if os.Remove(path) == nil {
			freed += bytes
		}
	}
	return freed
}

// Flat makes dst, which must not exist, of base, with a journal and mib MiB long. A base that is longer is
// errs.ErrUsage.
func Flat(ctx context.Context, dst, base string, mib int) error {
	info, err := os.Stat(base)
	if err != nil {
		return err
	}
	if need := int64(mib) << 20; info.Size()+journalMiB<<20 > need {
		return errs.New(errs.ErrUsage, "the image does not fit on a disk of %d MiB: it has %d MiB", mib, info.Size()>>20).Hint("give a larger --disk")
	}
	if _, err := storage.Clone(ctx, dst, base); err != nil {
		return err
	}
	f, err := os.OpenFile(dst, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Truncate(int64(mib) << 20)
	if err == nil {
		err = run(ctx, f, "resize2fs", "-f") // -f: a base was never checked
	}
	if err == nil && !hasJournal(f) {
		err = run(ctx, f, "tune2fs", "-J", fmt.Sprintf("size=%d", journalMiB))
	}
	if err != nil {
		return fmt.Errorf("making one disk of the image: %w", err)
	}
	return nil
}

// hasJournal looks at the feature in the superblock of f: Documentation/filesystems/ext4/super.rst.
func hasJournal(f *os.File) bool {
	var compat [4]byte
	_, err := f.ReadAt(compat[:], 1024+0x5c)
	return err == nil && compat[0]&0x4 != 0
}

// run runs a program of e2fsprogs on the file f.
func run(ctx context.Context, f *os.File, program string, args ...string) error {
	path, err := find(program)
	if err != nil {
		return err
	}
	const inChild = "/proc/self/fd/3"
	cmd := exec.CommandContext(ctx, path, append(args, inChild)...)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if strings.Contains(said.String(), "No space left on device") {
			err = unix.ENOSPC
		}
		return fmt.Errorf("%s: %w: %.500s", program, err, strings.TrimSpace(said.String()))
	}
	return nil
}

// find looks for a program where administrators' programs are, too: an ordinary user's PATH may lack that.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err == nil {
			return path, nil
		}
		path, err = exec.LookPath(filepath.Join(dir, program))
	}
	if err != nil {
		return "", errs.Host("make a disk", errors.New("there is no "+program)).Hint("install e2fsprogs; 'noid setup' does, where it can")
	}
	return path, nil
}
