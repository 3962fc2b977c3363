package setup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"noid/internal/errs"
)

// QEMU sees to it that this host has a QEMU for its own architecture. Root gets it installed with apt-get; for others, and
// without apt-get, the error wraps errs.ErrHost and its hint says what to run.
func QEMU(ctx context.Context, o Options) error {
	binary, pkg := "qemu-system-x86_64", "qemu-system-x86"
	if runtime.GOARCH == "arm64" {
		binary, pkg = "qemu-system-aarch64", "qemu-system-arm"
	}
	if _, err := exec.LookPath(binary); err == nil {
		return nil
	}
	return install(ctx, o, binary, pkg)
}

// Btrfs returns the path of mkfs.btrfs. Where there is none, all is as in QEMU.
func Btrfs(ctx context.Context, o Options) (string, error) {
	const binary, pkg = "mkfs.btrfs", "btrfs-progs"
	if path, err := findTool(binary, pkg); err == nil {
		return path, nil
	}
	if err := install(ctx, o, binary, pkg); err != nil {
		return "", err
	}
	return findTool(binary, pkg)
}

// install installs pkg, which has binary, with apt-get. Who cannot do that gets errs.ErrHost and what to run.
func install(ctx context.Context, o Options, binary, pkg string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errs.WithHint(fmt.Errorf("%s is not installed: %w", binary, errs.ErrHost), "install "+binary+" with this system's package manager")
	}
	if os.Geteuid() != 0 {
		return errs.WithHint(fmt.Errorf("%s is not installed: %w", binary, errs.ErrHost), "sudo apt-get install --no-install-recommends "+pkg)
	}
	o.say("installing package %s", pkg)
	install := []string{"apt-get", "-qq", "-y", "install", "--no-install-recommends", pkg}
	if _, err := run(ctx, "/", install...); err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	if _, err := run(ctx, "/", "apt-get", "-qq", "update"); err != nil { // the lists were missing or out of date
		return fmt.Errorf("installing %s: %w", pkg, err)
	}
	if _, err := run(ctx, "/", install...); err != nil {
		return fmt.Errorf("installing %s: %w", pkg, err)
	}
	return nil
}
