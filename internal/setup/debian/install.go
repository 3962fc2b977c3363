package debian

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"noid/internal/errs"
)

// Tool returns the path of the program name, which package pkg has. Where there is none, root gets pkg installed with
// apt-get. For others, and without apt-get, that is errs.ErrHost with what to run.
func Tool(ctx context.Context, o Options, name, pkg string) (string, error) {
	if path, err := findTool(name, pkg); err == nil {
		return path, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", errs.New(errs.ErrHost, "%s is not installed", name).Hint("install " + name + " with this system's package manager")
	}
	if os.Geteuid() != 0 {
		return "", errs.New(errs.ErrHost, "%s is not installed", name).Hint("sudo apt-get install --no-install-recommends " + pkg)
	}
	o.say("installing package %s", pkg)
	install := func() error {
		_, err := run(ctx, "/", "apt-get", "-qq", "-y", "install", "--no-install-recommends", pkg)
		return err
	}
	err := install()
	if err != nil && ctx.Err() == nil { // the package lists are missing or out of date
		if _, err = run(ctx, "/", "apt-get", "-qq", "update"); err == nil {
			err = install()
		}
	}
	if err != nil {
		return "", fmt.Errorf("installing %s: %w", pkg, err)
	}
	return findTool(name, pkg)
}

// findTool looks for a program in PATH, and where an ordinary user's PATH often does not lead.
func findTool(name, pkg string) (string, error) {
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(path); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", errs.New(errs.ErrHost, "%s is not installed", name).Hint("sudo apt-get install " + pkg)
}
