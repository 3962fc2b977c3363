package debian

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"noid/internal/errs"
	"noid/internal/setup/distro"
)

// Installs reports whether Tool can install packages: this is root, and there is apt-get.
func Installs() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil && os.Geteuid() == 0
}

// Tool returns the path of the program name, which a package for need has. Where there is none, root gets the package
// installed with apt-get. For others, and without apt-get, that is errs.ErrHost with what to type.
func Tool(ctx context.Context, o Options, name string, need distro.Need) (string, error) {
	path, err := FindTool(name, need)
	packages := distro.Read().Packages(need)
	if err == nil || !Installs() || len(packages) == 0 {
		return path, err
	}
	o.say("installing %s", strings.Join(packages, " "))
	install := func() error {
		_, err := run(ctx, "/", append([]string{"apt-get", "-qq", "-y", "install", "--no-install-recommends"}, packages...)...)
		return err
	}
	err = install()
	if err != nil && ctx.Err() == nil { // the package lists are missing or out of date
		if _, err = run(ctx, "/", "apt-get", "-qq", "update"); err == nil {
			err = install()
		}
	}
	if err != nil {
		return "", fmt.Errorf("installing %s: %w", strings.Join(packages, " "), err)
	}
	return FindTool(name, need)
}

// FindTool looks for a program in PATH, and where an ordinary user's PATH often does not lead.
func FindTool(name string, need distro.Need) (string, error) {
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(path); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", errs.New(errs.ErrHost, "%s is not installed", name).Hint(InstallHint(distro.Read(), need))
}

// InstallHint is what one types to install needs on r.
func InstallHint(r distro.Release, needs ...distro.Need) string {
	if line := r.Install(os.Geteuid() == 0, needs...); line != "" {
		if os.Getenv("http_proxy") != "" || os.Getenv("https_proxy") != "" { // which sudo would drop
			line = strings.Replace(line, "sudo ", "sudo -E ", 1)
		}
		return line
	}
	var names []string
	for _, need := range needs {
		names = append(names, need.String())
	}
	return "install " + strings.Join(names, ", ") + " with this system's package manager"
}
