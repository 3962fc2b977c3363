package setup

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"noid/internal/boot"
	"noid/internal/errs"
	"noid/internal/kernels"
	"noid/internal/setup/debian"
	"noid/internal/setup/distro"
)

// Files are what the user has, for a host that can fetch nothing. What is "" setup gets. Image is a reference, or
// NoImage.
type Files struct{ Kernel, Rootfs, Image string }

const (
	// DefaultImage is what VMs are made of where nobody says otherwise and a registry answers: small, and has apt-get.
	DefaultImage = "debian:stable-slim"
	// NoImage is the wish for the small root file system.
	NoImage = "none"
	// registryWait bounds the question whether a registry answers.
	registryWait = 10 * time.Second
)

// A Step is one thing that setup does.
type Step struct {
	Do, Why string
	run     func(context.Context) error
}

// Plan is what setup does, and what it can not.
type Plan struct {
	Steps   []Step
	Missing []distro.Need // what others have to install
	release distro.Release
}

// Lines are the plan as it is shown.
func (p Plan) Lines() (lines []string) {
	for _, s := range p.Steps {
		lines = append(lines, s.Do+" ("+s.Why+")")
	}
	if err := p.lacks(); err != nil {
		lines = append(lines, "left to you: "+errs.Hint(err))
	}
	return lines
}

// lacks is the error of what is missing, with the one line that installs it.
func (p Plan) lacks() error {
	if len(p.Missing) == 0 {
		return nil
	}
	var names []string
	for _, need := range p.Missing {
		names = append(names, need.String())
	}
	return errs.New(errs.ErrHost, "not installed, and noid cannot install it here: %s", strings.Join(names, ", ")).
		Hint(debian.InstallHint(p.release, p.Missing...))
}

// planner makes a plan. What it knows of the host is in fields, for tests.
type planner struct {
	Options
	Plan
	installs bool                                // this user can install packages here
	hasTool  func(string, distro.Need) bool      // a program is there
	busybox  bool                                // a static one is there
	kernel   func(debian.Options) string         // debian.FindKernel
	fetches  func(release distro.Release) string // debian.KernelPackage
}

// MakePlan looks at what is missing for VMs of driver: the VMM, a kernel and a root file system. It changes nothing.
func MakePlan(ctx context.Context, o Options, driver string, files Files) (Plan, error) {
	p := planner{Options: o, Plan: Plan{release: distro.Read()}, installs: debian.Installs(),
		hasTool: func(name string, need distro.Need) bool { _, err := debian.FindTool(name, need); return err == nil },
		busybox: debian.HasBusybox(), kernel: debian.FindKernel, fetches: debian.KernelPackage}
	return p.plan(ctx, driver, files)
}

func (p *planner) plan(ctx context.Context, driver string, files Files) (Plan, error) {
	p.planVMM(ctx, driver)
	if files.Image != "" && files.Image != NoImage && files.Image != p.Config.Image {
		if err := p.planImage(ctx, files.Image, "you named it"); err != nil {
			return p.Plan, err
		}
		p.Config.Image = files.Image
	}
	for _, part := range []struct {
		key, given string
		check      func(path string) error
		get        func(why string)
	}{{"kernel", kernels.Path(p.Home.KernelsDir(), files.Kernel), checkKernel, p.planKernel}, {"rootfs", files.Rootfs, boot.CheckExt4, p.planRootfs}} {
		configured := map[string]string{"kernel": p.Config.Kernel, "rootfs": p.Config.Rootfs}[part.key]
		if part.given != "" {
			path, err := filepath.Abs(part.given)
			if err == nil {
				err = part.check(path)
			}
			if err != nil {
				return p.Plan, err
			}
			if path != configured {
				p.use(part.key, path, "you named it", part.check)
			}
			continue
		}
		if part.key == "rootfs" && configured == "" && p.Config.Image != "" { // VMs are made of that
			continue
		}
		err := errs.New(errs.ErrHost, "none is configured")
		if configured != "" {
			if problem := part.check(configured); problem == nil {
				continue
			} else {
				err = errs.New(errs.ErrHost, "%w", problem)
			}
		}
		if part.key == "rootfs" && configured == "" && files.Image == "" && debian.FindRootfs(p.debian()) == "" {
			imageErr := p.planImage(ctx, DefaultImage, "VMs are made of it unless you name another")
			if imageErr == nil {
				continue
			}
			if ctx.Err() != nil {
				return p.Plan, context.Cause(ctx)
			}
			err = errs.New(errs.ErrHost, "%w", imageErr)
		}
		part.get(err.Error())
	}
	return p.Plan, nil
}

// planImage plans to make an image the default, if it can be had.
func (p *planner) planImage(ctx context.Context, ref, why string) error {
	asking, cancel := context.WithTimeoutCause(ctx, registryWait, errs.New(errs.ErrTimeout, "no answer in %v", registryWait))
	defer cancel()
	if err := p.CheckImage(asking, ref); err != nil {
		return err
	}
	p.step("pull the image "+ref+" and make it the default", why, func(ctx context.Context) error {
		if err := p.PullImage(ctx, ref); err != nil {
			return err
		}
		return setFile(p.Options, "image", ref, func(string) error { return nil })
	})
	return nil
}

func (p *planner) step(do, why string, run func(context.Context) error) {
	p.Steps = append(p.Steps, Step{do, why, run})
}

// use plans to make path the default for key.
func (p *planner) use(key, path, why string, check func(string) error) {
	p.step("use the "+map[string]string{"kernel": "kernel ", "rootfs": "root file system "}[key]+path, why,
		func(context.Context) error { return setFile(p.Options, key, path, check) })
}

// install plans to install need, of which tool is a program, and reports whether it can be counted on afterwards.
func (p *planner) install(tool string, need distro.Need, why string) bool {
	packages := p.release.Packages(need)
	if !p.installs || len(packages) == 0 {
		p.Missing = append(p.Missing, need)
		return false
	}
	p.step("install "+strings.Join(packages, " "), why, func(ctx context.Context) error {
		_, err := debian.Tool(ctx, p.debian(), tool, need)
		return err
	})
	return true
}

func (p *planner) planVMM(ctx context.Context, driver string) {
	for _, v := range vmms {
		if v.driver != driver || v.binary == "" || p.hasTool(v.binary, distro.QEMU) {
			continue
		}
		if _, err := p.Version(ctx, driver); err != nil {
			p.install(v.binary, distro.QEMU, "it runs the VMs: "+err.Error())
		}
	}
}

func (p *planner) planKernel(why string) {
	if path := p.kernel(p.debian()); path != "" {
		p.use("kernel", path, why, checkKernel)
		return
	}
	pkg := p.fetches(p.release)
	if pkg == "" {
		p.Missing = append(p.Missing, distro.Kernel)
		return
	}
	p.step("download the kernel of package "+pkg+" to "+p.Home.KernelsDir(), why, func(ctx context.Context) error {
		k, err := debian.Fetch(ctx, p.debian())
		if err != nil {
			return err
		}
		return setFile(p.Options, "kernel", k.Path, checkKernel)
	})
}

func (p *planner) planRootfs(why string) {
	if path := debian.FindRootfs(p.debian()); path != "" {
		p.use("rootfs", path, why, boot.CheckExt4)
		return
	}
	can := true
	if !p.hasTool("mke2fs", distro.E2fsprogs) || !p.hasTool("debugfs", distro.E2fsprogs) {
		can = p.install("mke2fs", distro.E2fsprogs, "it makes the root file system")
	}
	how := "of this host's busybox"
	if !p.busybox {
		if how = "of package busybox-static"; p.fetches(p.release) == "" {
			p.Missing = append(p.Missing, distro.Busybox)
			can = false
		}
	}
	if can {
		p.step("make a small root file system "+how+" in "+p.Home.ImagesDir(), why, func(ctx context.Context) error {
			path, err := debian.Rootfs(ctx, p.debian())
			if err != nil {
				return err
			}
			return setFile(p.Options, "rootfs", path, boot.CheckExt4)
		})
	}
}
