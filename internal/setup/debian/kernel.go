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
	"noid/internal/lazy"
	"noid/internal/setup/distro"
)

// hostBootDir is where distributions install kernels.
const hostBootDir = "/boot"

// Kernel returns the path of a kernel that can run VMs here, with its modules where boot.FindModules finds them: the
// host's own newest one that this user may read, else one that an earlier call fetched, else the distribution's kernel
// for virtual machines, which it downloads. errs.ErrHost is that there is no way to get one.
func Kernel(ctx context.Context, o Options) (string, error) {
	if path := newestKernel(o, hostBootDir+"/vmlinuz-*"); path != "" {
		o.say("using the host's kernel %s", path)
		return path, nil
	}
	fetched := filepath.Join(o.KernelsDir, "*/boot/vmlinuz-*")
	if path := newestKernel(o, fetched); path != "" {
		return path, nil
	}
	work, done, err := workDir(o.KernelsDir)
	if err != nil {
		return "", fmt.Errorf("getting a kernel: %w", err)
	}
	defer done()
	path, err := fetchKernel(ctx, o, work)
	if err != nil {
		return "", fmt.Errorf("getting a kernel: %w", err)
	}
	return path, nil
}

// newestKernel returns the newest usable kernel that pattern matches, or "".
func newestKernel(o Options, pattern string) string {
	paths, _ := filepath.Glob(pattern)
	slices.SortFunc(paths, func(a, b string) int { return compareVersions(filepath.Base(b), filepath.Base(a)) })
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

func fetchKernel(ctx context.Context, o Options, work string) (string, error) {
	meta := metaPackage(distro.Read(), runtime.GOARCH)
	if meta == "" {
		return "", errs.New(errs.ErrHost, "noid can fetch one on Debian and Ubuntu only").
			Hint("noid config set kernel PATH, with a kernel whose modules are in /lib/modules")
	}
	a, err := newApt(work)
	if err != nil {
		return "", err
	}
	tree, err := a.fetch(ctx, o, kernelRoom, func() ([]string, error) { return kernelPackages(ctx, a, meta) })
	if err != nil {
		return "", err
	}
	return publishKernel(o, work, tree)
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

// publishKernel moves the kernel and modules of an unpacked package to KernelsDir/VERSION/{boot,lib/modules}.
func publishKernel(o Options, work, tree string) (string, error) {
	kernels, _ := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if len(kernels) != 1 {
		return "", fmt.Errorf("the package holds %d kernels", len(kernels))
	}
	k, err := boot.InspectKernel(kernels[0])
	if err != nil {
		return "", err
	}
	version := cmp.Or(k.Version, strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-"))
	if version == "" || strings.Trim(version, ".") == "" { // it names directories, one of which is replaced
		return "", fmt.Errorf("the package holds a kernel without a version: %s", filepath.Base(kernels[0]))
	}
	ready, kernel := filepath.Join(work, "ready"), filepath.Join("boot", "vmlinuz-"+version)
	if err := errors.Join(os.MkdirAll(ready+"/boot", 0o755), os.MkdirAll(ready+"/lib/modules", 0o755)); err != nil {
		return "", err
	}
	if err := os.Rename(kernels[0], filepath.Join(ready, kernel)); err != nil {
		return "", err
	}
	if err := moveModules(tree, ready, version); err != nil {
		return "", err
	}
	if err := usable(filepath.Join(ready, kernel)); err != nil {
		return "", fmt.Errorf("the downloaded kernel %s is of no use: %w", version, err)
	}
	final := filepath.Join(o.KernelsDir, version)
	if err := os.RemoveAll(final); err != nil { // usable would have accepted it had it been whole
		return "", err
	}
	if err := publish(ready, final); err != nil {
		return "", err
	}
	return filepath.Join(final, kernel), nil
}

// moveModules moves version's modules, which newer distributions package below /usr.
func moveModules(tree, ready, version string) error {
	for _, dir := range []string{"lib/modules", "usr/lib/modules"} {
		err := os.Rename(filepath.Join(tree, dir, version), filepath.Join(ready, "lib/modules", version))
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("the package holds no modules for %s", version)
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
