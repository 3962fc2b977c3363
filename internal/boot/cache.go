package boot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"noid/internal/kmod"
	"noid/internal/lazy"
	"noid/internal/storage"
)

// Beginnings of the names under which 'create' keeps kernels in a cache directory, as they were and unpacked; a key
// follows.
const (
	KernelPrefix  = "kernel-"
	VmlinuxPrefix = "vmlinux-"
)

const (
	// format is part of an initramfs's key: to be raised when writeInitramfs, guestModules or onDemand changes what comes out.
	format = 6
	// tmpPrefix begins the name of a file that storage.WriteOnce writes. One that is an hour old was left by a noid
	// that was killed.
	tmpPrefix = ".tmp-"
	staleTmp  = time.Hour
)

// cached matches the names of the files in a cache directory that are made for VMs. A kernel that somebody put there,
// vmlinux-6.1, is none.
var cached = lazy.Regexp(`^(initrd-[0-9a-f]{16}\.cpio|(` + KernelPrefix + `|` + VmlinuxPrefix + `)[0-9a-f]{16})$`)

// Initramfs returns the path of an initramfs for the kernel at kernelPath, in cacheDir, with noid's agent or without.
// It is built if the kernel, its modules' directory, noid-init or the agent changed since the last time; otherwise it
// costs little more than a look at the kernel's file. Its access time is that of its last use, for Prune. A kernel
// without modules gets none. Several noids may build the same at once. The error wraps errs.ErrHost if noid has no
// programs for the kernel's architecture.
func Initramfs(cacheDir, kernelPath string, agent bool) (string, error) {
	kernelPath, err := filepath.Abs(kernelPath)
	if err != nil {
		return "", err
	}
	kernel, err := InspectKernel(kernelPath)
	if err != nil {
		return "", err
	}
	return initramfs(cacheDir, kernelPath, kernel, agent)
}

// initramfs is Initramfs for a kernel that was inspected, by its absolute path.
func initramfs(cacheDir, kernelPath string, kernel Kernel, agent bool) (string, error) {
	modulesDir := FindModules(kernelPath, kernel.Version)
	key, err := cacheKey(kernelPath, modulesDir, kernel.Arch, agent)
	if err != nil {
		return "", err
	}
	path := filepath.Join(cacheDir, "initrd-"+key+".cpio")
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
		if err := Use(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil // a cache that cannot be written to serves as well
		}
	}
	if err := kernel.checkDrivers(kernelPath, drivers); err != nil {
		return "", err
	}
	if err := build(path, kernel.Arch, modulesDir, agent); err != nil {
		return "", fmt.Errorf("building the initramfs for kernel %q: %w", kernelPath, err)
	}
	return path, nil
}

// cacheKey identifies what goes into the initramfs. It reads no module and unpacks no program.
func cacheKey(kernelPath, modulesDir, arch string, agent bool) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%d %q %q", format, kernelPath, modulesDir)
	for _, path := range []string{kernelPath, modulesDir} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, " %d %d", info.Size(), info.ModTime().UnixNano())
	}
	names := []string{"noid-init", "noid-agent"}
	if !agent {
		names = names[:1]
	}
	for _, name := range names {
		data, err := packed(name, arch)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, " %x", sha256.Sum256(data))
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

func build(path, arch, modulesDir string, withAgent bool) error {
	init, err := program("noid-init", arch)
	if err != nil {
		return err
	}
	var agent []byte
	if withAgent {
		if agent, err = program("noid-agent", arch); err != nil {
			return err
		}
	}
	var modules []kmod.Module
	var later []byte
	if modulesDir != "" {
		if modules, err = ResolveModules(modulesDir, guestModules); err != nil {
			return err
		}
	}
	if modulesDir != "" && withAgent {
		if later, err = archiveModules(modulesDir, modules); err != nil {
			return err
		}
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	removeStale(dir)
	return storage.WriteOnce(path, 0o600, func(f *os.File) error { return writeInitramfs(f, init, agent, modules, later) })
}

// archiveModules packs those of onDemand that are in dir, and what they need, but for what is loaded.
func archiveModules(dir string, loaded []kmod.Module) ([]byte, error) {
	modules, err := ResolveModules(dir, onDemand)
	if err != nil {
		return nil, err
	}
	modules = slices.DeleteFunc(modules, func(m kmod.Module) bool {
		return slices.ContainsFunc(loaded, func(l kmod.Module) bool { return l.Name == m.Name })
	})
	var archive bytes.Buffer
	err = kmod.Write(&archive, modules)
	return archive.Bytes(), err
}

// removeStale deletes what killed noids left half written. It is a courtesy: failing is no failure.
func removeStale(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), tmpPrefix) && time.Since(info.ModTime()) > staleTmp {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// Use notes that the file path of a cache directory is used now. It sets the access time alone: by the modification
// time a checkpoint knows the file that its VM boots from.
func Use(path string) error { return os.Chtimes(path, time.Now(), time.Time{}) }

// Prune deletes the initramfs and kernels in cacheDir that were not used for olderThan and that keep does not want. It
// asks keep about old files alone, with a path below cacheDir as that was given. A VM or a checkpoint records the paths
// of what it boots from: keep has to know them all. olderThan protects what a 'create' uses and has not recorded yet.
// Other files are left alone. A missing cacheDir is no error, and one file's error does not save the others.
func Prune(cacheDir string, keep func(path string) bool, olderThan time.Duration) error {
	entries, err := os.ReadDir(cacheDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	removeStale(cacheDir)
	errList := []error{err}
	for _, e := range entries {
		path := filepath.Join(cacheDir, e.Name())
		// Asked again after keep, which may take long: another noid may have begun to use the file.
		if e.Type().IsRegular() && cached().MatchString(e.Name()) && unused(path, olderThan) && !keep(path) && unused(path, olderThan) {
			if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) { // another noid was faster
				errList = append(errList, err)
			}
		}
	}
	return errors.Join(errList...)
}

// unused reports whether path is there and was not used for olderThan.
func unused(path string, olderThan time.Duration) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	used := time.Unix(info.Sys().(*syscall.Stat_t).Atim.Unix())
	return min(time.Since(used), time.Since(info.ModTime())) > olderThan
}
