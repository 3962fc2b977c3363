package debian

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"noid/internal/boot"
	"noid/internal/errs"
	"noid/internal/kernels"
	"noid/internal/lazy"
	"noid/internal/setup/distro"
	"noid/internal/storage"
)

// FindKernel returns the path of a kernel that can run VMs here and need not be fetched, with its modules where
// boot.FindModules finds them: the host's own newest one that this user may read, else one that the home keeps. It is ""
// where there is none.
func FindKernel(o Options) string {
	for _, pattern := range []string{"/boot/vmlinuz-*", "/lib/modules/*/vmlinuz", filepath.Join(o.KernelsDir, "*/boot/vmlinuz-*")} {
		if path := newestKernel(o, pattern); path != "" {
			return path
		}
	}
	return ""
}

// KernelPackage is the distribution's package with its kernel for virtual machines, "" where Fetch cannot get one.
func KernelPackage(r distro.Release) string {
	if _, err := newApt(""); err != nil {
		return ""
	}
	return metaPackage(r, runtime.GOARCH)
}

// Fetch downloads the distribution's kernel for virtual machines and imports it, in the place of the same one. Without
// a way to get one that is errs.ErrHost.
func Fetch(ctx context.Context, o Options) (kernels.Kernel, error) {
	work, done, err := storage.WorkDir(o.KernelsDir)
	if err == nil {
		defer done()
		var k kernels.Kernel
		if k, err = fetchKernel(ctx, o, work); err == nil {
			return k, nil
		}
	}
	return kernels.Kernel{}, fmt.Errorf("getting a kernel: %w", err)
}

// newestKernel returns the newest usable kernel that pattern matches, or "".
func newestKernel(o Options, pattern string) string {
	paths, _ := filepath.Glob(pattern)
	slices.SortFunc(paths, func(a, b string) int { return compareVersions(b, a) })
	for _, path := range paths {
		if err := usable(path); err != nil {
			o.say("not using kernel %s: %v", path, err)
			continue
		}
		return path
	}
	return ""
}

// usable reports why the kernel at path cannot run VMs, or nil.
func usable(path string) error {
	_, err := boot.CheckKernel(path)
	if errors.Is(err, os.ErrPermission) {
		return errors.New("only root may read it")
	}
	return err
}

// metaPackages are the packages that depend on a distribution's current kernel for virtual machines, by ID of
// os-release.
var metaPackages = map[string]map[string]string{
	"debian": {"amd64": "linux-image-cloud-amd64", "arm64": "linux-image-cloud-arm64"},
	"ubuntu": {"amd64": "linux-image-virtual", "arm64": "linux-image-virtual"},
}

// kernelPackage matches the packages with a kernel or its modules of a definite version.
var kernelPackage = lazy.Regexp(`^linux-(image|modules)-[0-9]`)

func fetchKernel(ctx context.Context, o Options, work string) (kernels.Kernel, error) {
	meta := metaPackage(distro.Read(), runtime.GOARCH)
	if meta == "" {
		return kernels.Kernel{}, errs.New(errs.ErrHost, "noid can fetch one on Debian and Ubuntu only").
			Hint("install one, or 'noid kernel import FILE --modules DIR'")
	}
	a, err := newApt(work)
	if err != nil {
		return kernels.Kernel{}, err
	}
	tree, err := a.fetch(ctx, o, kernelRoom, func() ([]string, error) { return kernelPackages(ctx, a, meta) })
	if err != nil {
		return kernels.Kernel{}, err
	}
	return importKernel(ctx, o, work, tree)
}

// kernelPackages returns what to download for meta: the kernel it depends on, and the package of its modules where they
// are apart, as on Ubuntu.
func kernelPackages(ctx context.Context, a *apt, meta string) ([]string, error) {
	pkgs, err := a.depends(ctx, meta, kernelPackage())
	if err != nil {
		return nil, err
	}
	if len(pkgs) == 0 {
		return nil, fmt.Errorf("package %s names no kernel", meta)
	}
	more, err := a.depends(ctx, pkgs[0], kernelPackage())
	if err != nil {
		return nil, err
	}
	return slices.Compact(append(pkgs[:1:1], more...)), nil
}

// metaPackage picks from metaPackages by the distribution; "" if it knows none.
func metaPackage(r distro.Release, arch string) string {
	for _, id := range r.IDs {
		if byArch, ok := metaPackages[id]; ok {
			return byArch[arch]
		}
	}
	return ""
}

// importKernel imports the kernel and modules of an unpacked package.
func importKernel(ctx context.Context, o Options, work, tree string) (kernels.Kernel, error) {
	found, _ := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if len(found) != 1 {
		return kernels.Kernel{}, fmt.Errorf("the package holds %d kernels", len(found))
	}
	modules := filepath.Join(tree, "lib/modules")
	if _, err := os.Stat(modules); err != nil { // newer distributions have them below /usr
		modules = filepath.Join(tree, "usr/lib/modules")
	}
	k, err := kernels.ImportFrom(ctx, o.KernelsDir, work, kernels.Source{Path: found[0], Modules: modules, Unpacked: true})
	if err != nil {
		return k, fmt.Errorf("the downloaded kernel is of no use: %w", err)
	}
	return k, nil
}

var digits = lazy.Regexp(`[0-9]+|[^0-9]+`)

// compareVersions orders versions as people do: runs of digits by their value.
func compareVersions(a, b string) int {
	x, y := digits().FindAllString(a, -1), digits().FindAllString(b, -1)
	for i := range min(len(x), len(y)) {
		m, n := x[i], y[i]
		c := strings.Compare(m, n)
		if isDigit(m[0]) && isDigit(n[0]) { // of any length
			m, n = strings.TrimLeft(m, "0"), strings.TrimLeft(n, "0")
			c = cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n))
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
