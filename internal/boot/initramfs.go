package boot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"noid/internal/storage"
)

const (
	// format is part of an initramfs's key: to be raised when BuildInitramfs or Wanted changes what comes out.
	format = 2
	// tmpPrefix marks a file that is being written. One that is an hour old was left by a noid that was killed.
	tmpPrefix = ".initrd-"
	staleTmp  = time.Hour
)

// Initramfs returns the path of an initramfs for the kernel at kernelPath, in cacheDir, with noid's agent or without. It is
// built if the kernel, its modules' directory, noid-init or the agent changed since the last time; otherwise it costs little
// more than a look at the kernel's file. Its modification time is that of its last use, for Prune. A kernel without modules
// gets none. Several noids may build the same at once.
func Initramfs(cacheDir, kernelPath string, agent bool) (string, error) {
	kernelPath, err := filepath.Abs(kernelPath)
	if err != nil {
		return "", err
	}
	kernel, err := InspectKernel(kernelPath)
	if err != nil {
		return "", err
	}
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
	if err := build(path, kernel.Arch, modulesDir, agent); err != nil {
		return "", fmt.Errorf("building the initramfs for kernel %q: %w", kernelPath, err)
	}
	return path, nil
}

// cacheKey identifies what goes into the initramfs without reading the modules.
func cacheKey(kernelPath, modulesDir, arch string, agent bool) (string, error) {
	info, err := os.Stat(kernelPath)
	if err != nil {
		return "", err
	}
	programs, err := programsHash(arch, agent)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%x\n%q %d %d\n%q", format, programs, kernelPath, info.Size(), info.ModTime().UnixNano(), modulesDir)
	if modulesDir != "" {
		info, err := os.Stat(modulesDir)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, " %d", info.ModTime().UnixNano())
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

func build(path, arch, modulesDir string, withAgent bool) error {
	init, err := InitBinary(arch)
	if err != nil {
		return err
	}
	var agent []byte
	if withAgent {
		if agent, err = AgentBinary(arch); err != nil {
			return err
		}
	}
	var modules []Module
	if modulesDir != "" {
		if modules, err = ResolveModules(modulesDir, Wanted); err != nil {
			return err
		}
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	removeStale(dir)
	return storage.WriteOnce(path, 0o600, func(f *os.File) error { return BuildInitramfs(f, init, agent, modules) })
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
