package setup

import (
	"context"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noid/internal/boot"
	"noid/internal/errs"
	"noid/internal/kernels"
	"noid/internal/setup/debian"
)

// ImportKernel imports the kernel that source names: the path of a file, "host" for the one that this host runs, or
// "debian" for the distribution's for virtual machines, on Debian, Ubuntu and what is like them.
func ImportKernel(ctx context.Context, o Options, source string, s kernels.Source) (kernels.Kernel, error) {
	if err := o.Home.Make(); err != nil {
		return kernels.Kernel{}, err
	}
	s.Path = source
	switch source {
	case "host":
		var u unix.Utsname
		err := unix.Uname(&u)
		if err == nil {
			s.Path, err = boot.HostKernel(unix.ByteSliceToString(u.Release[:]))
		}
		if err != nil {
			return kernels.Kernel{}, err
		}
	case "debian", "ubuntu":
		if s.Name != "" || s.Modules != "" || s.Config != "" {
			return kernels.Kernel{}, errs.New(errs.ErrUsage, "a distribution's kernel has its own name, modules and configuration").
				Hint("leave out --name, --modules and --config")
		}
		return debian.Fetch(ctx, o.debian())
	}
	return kernels.Import(ctx, o.Home.KernelsDir(), s)
}

// RemoveKernel removes the kernel called name. The default is errs.ErrBusy. VMs that were made of it boot from copies.
func RemoveKernel(o Options, name string) error {
	dir := o.Home.KernelsDir()
	uses := func(path string) bool {
		inside, err := filepath.Rel(filepath.Join(dir, name), path)
		return err == nil && filepath.IsLocal(inside) && path != ""
	}
	if uses(o.Config.Kernel) {
		return errs.New(errs.ErrBusy, "kernel %q is the default of new VMs", name).Hint("'noid config set kernel' another first, or 'noid config unset kernel'")
	}
	return kernels.Remove(dir, name)
}
