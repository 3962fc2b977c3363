package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"noid/internal/errs"
	"noid/internal/lazy"
	"noid/internal/storage"
)

// What fetch needs for package lists and a small package, and for Debian's kernel, which is unpacked beside its
// package.
const (
	listsRoom  = 96 << 20
	kernelRoom = 160 << 20
)

// apt is apt-get's and apt-cache's view of what can be downloaded.
type apt struct {
	work    string   // a directory to work in, an absolute path
	options []string // none for the host's own package lists
}

// newApt returns the host's own view. Without apt that is errs.ErrHost.
func newApt(work string) (*apt, error) {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, errs.New(errs.ErrHost, "this needs Debian's package tools, and there is no %s", tool)
		}
	}
	work, err := filepath.Abs(work)
	return &apt{work: work}, err
}

// refresh changes to package lists of its own, freshly downloaded, which takes no privileges. The host's are left
// alone.
func (a *apt) refresh(ctx context.Context, o Options) error {
	lists, cache := filepath.Join(a.work, "lists"), filepath.Join(a.work, "cache")
	if err := errors.Join(os.MkdirAll(lists+"/partial", 0o755), os.MkdirAll(cache+"/archives/partial", 0o755)); err != nil {
		return err
	}
	// Root's apt would drop to user _apt, who cannot write here; the packages' signatures are checked all the same.
	a.options = []string{"-o", "Dir::State::Lists=" + lists, "-o", "Dir::Cache=" + cache, "-o", "APT::Sandbox::User=root"}
	o.say("fetching the distribution's package lists")
	if _, err := run(ctx, a.work, a.argv("apt-get", "-qq", "update")...); err != nil {
		return fmt.Errorf("fetching package lists: %w", err)
	}
	return nil
}

func (a *apt) argv(tool string, args ...string) []string {
	return append(append([]string{tool}, a.options...), args...)
}

// fetch downloads the packages that choose names and unpacks them into a new directory, whose path it returns. Where
// the host's package lists are missing or out of date it tries again with fresh ones. All that takes room bytes: apt on
// a full disk says that there are no packages. errs.ErrHost where there are less.
func (a *apt) fetch(ctx context.Context, o Options, room int64, choose func() ([]string, error)) (string, error) {
	if free, err := storage.Free(a.work); err == nil && free < room {
		return "", errs.New(errs.ErrHost, "no space in %s: %d MiB needed, %d MiB free", filepath.Dir(a.work), room>>20, free>>20).
			Hint("make room there, or put NOID_HOME on a larger file system")
	}
	dir, err := a.tryFetch(ctx, o, choose)
	if err == nil || ctx.Err() != nil {
		return dir, err
	}
	if err := a.refresh(ctx, o); err != nil {
		return "", err
	}
	return a.tryFetch(ctx, o, choose)
}

func (a *apt) tryFetch(ctx context.Context, o Options, choose func() ([]string, error)) (string, error) {
	pkgs, err := choose()
	if err != nil {
		return "", err
	}
	debs, err := os.MkdirTemp(a.work, "debs-")
	if err != nil {
		return "", err
	}
	for _, pkg := range pkgs {
		o.say("downloading package %s", pkg)
		if _, err := run(ctx, debs, a.argv("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", pkg)...); err != nil {
			return "", fmt.Errorf("downloading package %s: %w", pkg, err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(debs, "*.deb"))
	if len(files) == 0 {
		return "", errors.New("apt-get downloaded no package")
	}
	tree, err := os.MkdirTemp(a.work, "tree-")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		if _, err := run(ctx, debs, "dpkg-deb", "-x", file, tree); err != nil {
			return "", fmt.Errorf("unpacking package %s: %w", filepath.Base(file), err)
		}
	}
	return tree, nil
}

// depends returns the packages that pkg depends on and whose names match.
func (a *apt) depends(ctx context.Context, pkg string, match *regexp.Regexp) ([]string, error) {
	out, err := run(ctx, a.work, a.argv("apt-cache", "depends", "--important", pkg)...)
	if err != nil {
		return nil, fmt.Errorf("looking up package %s: %w", pkg, err)
	}
	return parseDepends(out, match), nil
}

var dependsLine = lazy.Regexp(`(?m)^ *\|?(?:Pre)?Depends: ([a-z0-9][a-z0-9.+-]+)$`)

func parseDepends(out string, match *regexp.Regexp) (pkgs []string) {
	for _, m := range dependsLine().FindAllStringSubmatch(out, -1) {
		if match.MatchString(m[1]) {
			pkgs = append(pkgs, m[1])
		}
	}
	return pkgs
}
