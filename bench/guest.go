package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"noid/internal/vmm/conformance/tinyguest"
)

// A guest is what boots: the tiny guest always, a Linux where scripts/guest-env.sh has named one.
type guest struct {
	tiny, tinyDisk          string
	kernel, vmlinux, initrd string
	rootfs                  string // empty: there is no Linux guest
}

// prepare makes the tiny guest's files in dir.
func (g *guest) prepare(ctx context.Context, dir string) error {
	g.tiny, g.tinyDisk = filepath.Join(dir, "tiny.elf"), filepath.Join(dir, "tiny.ext4")
	if err := os.WriteFile(g.tiny, tinyguest.Kernel(), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(g.tinyDisk, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(g.tinyDisk, 8<<20); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", g.tinyDisk).CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	g.kernel, g.vmlinux, g.initrd = os.Getenv("NOID_TEST_KERNEL"), os.Getenv("NOID_TEST_VMLINUX"), os.Getenv("NOID_TEST_INITRD")
	if g.kernel != "" && g.vmlinux != "" && g.initrd != "" {
		g.rootfs = os.Getenv("NOID_TEST_ROOTFS")
	}
	return nil
}

func (g *guest) disk(linux bool) string {
	if linux {
		return g.rootfs
	}
	return g.tinyDisk
}

// ready waits until the tiny guest in dir has booted.
func ready(ctx context.Context, dir string) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		data, err := os.ReadFile(filepath.Join(dir, "serial.log"))
		if strings.Contains(string(data), "tiny ready") {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the tiny guest in %s does not boot: %q, %v", dir, data, err)
		}
	}
}
