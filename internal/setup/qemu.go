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
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errs.WithHint(fmt.Errorf("%s is not installed: %w", binary, errs.ErrHost), "install QEMU with this system's package manager")
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
