package setup

import (
	"context"
	"path/filepath"
	"strings"

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

// RemoveKernel removes the kernel called name. One that is the default, or that a VM was made of, is errs.ErrBusy.
func RemoveKernel(o Options, name string) error {
	dir := o.Home.KernelsDir()
	uses := func(path string) bool {
		inside, err := filepath.Rel(filepath.Join(dir, name), path)
		return err == nil && filepath.IsLocal(inside) && path != ""
	}
	if uses(o.Config.Kernel) {
		return errs.New(errs.ErrBusy, "kernel %q is the default of new VMs", name).Hint("'noid config set kernel' another first, or 'noid config unset kernel'")
	}
	names, err := o.Home.VMNames()
	if err != nil {
		return err
	}
	var users []string
	for _, vm := range names {
		if v, err := o.Home.LoadVM(vm); err == nil && uses(v.SourceKernel) {
			users = append(users, vm)
		}
	}
	if len(users) > 0 {
		return errs.New(errs.ErrBusy, "kernel %q is that of %s", name, strings.Join(users, ", ")).Hint("'noid destroy' these VMs first; their checkpoints need it not")
	}
	return kernels.Remove(dir, name)
}
