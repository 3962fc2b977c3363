package kernels

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"noid/internal/boot"
	"noid/internal/errs"
	"noid/internal/storage"
)

// Source is a kernel to be imported.
type Source struct {
	Path string // of its file: a bzImage, a vmlinux, an arm64 Image
	// Modules is the directory of its modules, lib/modules/VERSION or the one above; "" looks where boot.FindModules
	// does.
	Modules string
	Config  string // the path of its configuration; "" where boot.Lacks finds one, if there is one
	Name    string // "" is its version
	// Unpacked is that the files are those of a package which the caller has unpacked in the same file system: the
	// modules are moved, and what has the name, damaged mostly, is replaced.
	Unpacked bool
}

// Import copies a kernel and its modules into dir. It refuses what boot.CheckKernel does, and a name that is taken with
// errs.ErrExists. What the kernel lacks of what noid could make use of is in the Kernel returned. Killed meanwhile, it
// has imported all or nothing.
func Import(ctx context.Context, dir string, s Source) (Kernel, error) {
	work, done, err := storage.WorkDir(dir)
	if err != nil {
		return Kernel{}, err
	}
	defer done()
	return ImportFrom(ctx, dir, work, s)
}

// ImportFrom is Import with a directory to work in, storage.WorkDir's of dir.
func ImportFrom(ctx context.Context, dir, work string, s Source) (Kernel, error) {
	path, err := filepath.Abs(s.Path)
	if err != nil {
		return Kernel{}, err
	}
	k, err := boot.InspectKernel(path)
	if err != nil {
		return Kernel{}, err
	}
	name := cmp.Or(s.Name, k.Version)
	if name == "" {
		return Kernel{}, errs.New(errs.ErrUsage, "kernel %q does not tell its version", s.Path).Hint("name it: --name NAME")
	}
	if err := checkName(name); err != nil {
		return Kernel{}, err
	}
	final := filepath.Join(dir, name)
	if _, err := os.Lstat(final); err == nil && !s.Unpacked {
		return Kernel{}, errs.New(errs.ErrExists, "kernel %q already exists", name).Hint("give another --name, or 'noid kernel rm " + name + "' first")
	}
	modules, err := findModules(path, k.Version, s.Modules)
	if err != nil {
		return Kernel{}, err
	}
	c := copying{s, path, modules, cmp.Or(k.Version, name), filepath.Join(work, "ready")}
	if err := c.fill(ctx); err != nil {
		return Kernel{}, fmt.Errorf("importing kernel %q: %w", s.Path, err)
	}
	if err := c.judge(); err != nil {
		return Kernel{}, err
	}
	if err := storage.PublishTree(c.ready, final); err != nil {
		return Kernel{}, err
	}
	return load(dir, name), nil
}

// copying is an import under way.
type copying struct {
	Source
	path, modules string // absolute; modules may be ""
	version       string // or the name of a kernel that tells none
	ready         string // the directory that is filled and then published
}

// findModules returns the directory of the modules of the kernel at path, or "".
func findModules(path, version, given string) (string, error) {
	if given == "" {
		return boot.FindModules(path, version), nil
	}
	for _, dir := range []string{filepath.Join(given, version), given} {
		if found, err := filepath.Glob(filepath.Join(dir, "modules.*")); err == nil && len(found) > 0 || exists(filepath.Join(dir, "kernel")) {
			return dir, nil
		}
	}
	if _, err := os.Stat(given); errors.Is(err, fs.ErrNotExist) {
		return "", errs.New(errs.ErrNotFound, "modules not found: %s", given)
	}
	return "", errs.New(errs.ErrUsage, "%q holds no kernel's modules", given).Hint("give lib/modules/VERSION of the kernel's package")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// fill makes the directory ready with a copy of the kernel, its modules and its configuration.
func (c copying) fill(ctx context.Context) error {
	bootDir, modulesDir := filepath.Join(c.ready, "boot"), filepath.Join(c.ready, "lib/modules")
	if err := errors.Join(os.MkdirAll(bootDir, 0o755), os.MkdirAll(modulesDir, 0o755)); err != nil {
		return err
	}
	copies := map[string]string{"vmlinuz-" + c.version: c.path}
	for _, near := range []string{c.Config, filepath.Join(filepath.Dir(c.path), "config-"+c.version)} {
		if near != "" && exists(near) {
			copies["config-"+c.version] = near
			break
		}
	}
	for name, from := range copies {
		if err := clone(ctx, filepath.Join(bootDir, name), from); err != nil {
			return err
		}
	}
	modulesDir = filepath.Join(modulesDir, c.version)
	switch {
	case c.modules == "":
		return nil
	case c.Unpacked:
		return os.Rename(c.modules, modulesDir)
	}
	return copyModules(ctx, modulesDir, c.modules)
}

// copyModules copies the modules in from and what says something of them. Links, to sources, stay behind.
func copyModules(ctx context.Context, to, from string) error {
	root, err := filepath.EvalSymlinks(from) // WalkDir does not enter a link
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, inside), 0o755)
		case d.Type().IsRegular() && (strings.Contains(d.Name(), ".ko") || strings.HasPrefix(inside, "modules.") || inside == "config"):
			return clone(ctx, filepath.Join(to, inside), path)
		}
		return nil
	})
}

func clone(ctx context.Context, to, from string) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	from, err = filepath.EvalSymlinks(from)
	if err == nil {
		_, err = storage.CloneInto(ctx, f, from)
	}
	return errors.Join(err, f.Close())
}

// judge refuses a kernel that could not run VMs here, and notes what it lacks.
func (c copying) judge() error {
	copied := filepath.Join(c.ready, "boot", "vmlinuz-"+c.version)
	var lacks []string
	_, err := boot.CheckKernel(copied)
	if err == nil {
		lacks, err = boot.Lacks(copied, c.Config)
	}
	if errors.Is(err, errs.ErrHost) { // the user knows the files by their own paths
		own := strings.NewReplacer(copied, c.path, filepath.Join(c.ready, "lib/modules", c.version), c.modules)
		hint := errs.Hint(err)
		if c.modules == "" && strings.HasPrefix(hint, "name the kernel ") {
			hint = "give its modules: --modules DIR"
		}
		return errs.New(errs.ErrHost, "%s", own.Replace(err.Error())).Hint(hint)
	} else if err != nil {
		return err
	}
	source := c.path
	if c.Unpacked {
		source = "the distribution's package"
	}
	text, err := json.MarshalIndent(record{source, lacks}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.ready, recordFile), append(text, '\n'), 0o644)
}
