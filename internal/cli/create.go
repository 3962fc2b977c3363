package cli

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/boot"
	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/storage/volume"
	"noid/internal/untrusted"
	"noid/internal/vm"
	"noid/internal/vmm"
)

// The defaults of a new VM.
const (
	defaultCPUs   = 1
	defaultMemMiB = 128
	createWait    = 3 * time.Minute // for --wait: an emulated guest on a busy host takes one
)

func (a *app) createCmd() *cobra.Command {
	var o vm.CreateOptions
	var cpus, mem string
	var wait, cold bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a VM and boot it in the background", Args: cobra.ExactArgs(1),
		Long: "Make a VM and boot it in the background. The first one of a kernel, root file system, size and driver becomes a template when it\n" +
			"is up; the next ones are restored from that, each with an identity, a clock and random numbers of its own. --cold boots.\n" + exitHelp,
		Example: "  noid create dev\n  noid create big --cpus 2 --mem 1G --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			m, err := a.writer(ctx)
			if err != nil {
				return err
			}
			o.Name = args[0]
			if err := home.CheckName(o.Name); err != nil {
				return err
			}
			if o.CPUs, o.MemMiB, err = a.size(cpus, mem); err != nil {
				return err
			}
			if o.Driver, err = a.choose(ctx, o.Driver); err != nil {
				return err
			}
			o.Kernel, o.Rootfs = or(o.Kernel, a.config.Kernel), or(o.Rootfs, a.config.Rootfs)
			o.Warm = !cold && a.config.Warm != "off"
			o.BootArgs = join(a.config.BootArgs, o.BootArgs)
			if o.Kernel == "" || o.Rootfs == "" {
				what := "kernel"
				if o.Kernel != "" {
					what = "rootfs"
				}
				return errs.New(errs.ErrHost, "%s not found: none is configured", what).Hint("run 'noid setup', or 'noid config set " + what + " PATH'")
			}
			a.notice(o.Driver)
			if err := m.Create(ctx, o); err != nil {
				return err
			}
			if wait {
				info, err := m.Get(ctx, o.Name)
				if err != nil {
					return err
				}
				if err := waitReady(ctx, m, info, createWait); err != nil {
					return err
				}
				if err := m.Announce(ctx, o.Name); err != nil {
					return err
				}
			}
			fmt.Fprintln(a.out, o.Name)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Kernel, "kernel", "", "kernel: an ELF vmlinux or a bzImage (default: config)")
	f.StringVar(&o.Rootfs, "rootfs", "", "root file system: an ext4 image, which is copied (default: config)")
	f.StringVar(&cpus, "cpus", "", "virtual CPUs (default 1)")
	f.StringVar(&mem, "mem", "", "memory in MiB, or with a unit: 2G (default 128)")
	f.StringVar(&o.Driver, "driver", "", "firecracker or qemu (default: the best that works here)")
	f.StringVar(&o.BootArgs, "boot-args", "", "appended to the kernel's command line")
	f.BoolVar(&wait, "wait", false, "return when the VM can run commands")
	f.BoolVar(&cold, "cold", false, "boot it, whatever template there is")
	f.BoolVar(&o.NoAgent, "no-agent", false, "leave noid's agent out of the guest: exec goes over the console")
	return cmd
}

// size resolves CPUs and memory: flag, configuration, default.
func (a *app) size(cpus, mem string) (c, mib int, err error) {
	c, mib = defaultCPUs, defaultMemMiB
	if a.config.CPUs > 0 {
		c = a.config.CPUs
	}
	if a.config.MemMiB > 0 {
		mib = a.config.MemMiB
	}
	if cpus != "" {
		if c, err = config.ParseCPUs(cpus); err != nil {
			return 0, 0, fmt.Errorf("--cpus: %w", err)
		}
	}
	if mem != "" {
		if mib, err = config.ParseMiB(mem); err != nil {
			return 0, 0, fmt.Errorf("--mem: %w", err)
		}
	}
	return c, mib, nil
}

func (a *app) destroyCmd() *cobra.Command {
	var checkpoints bool
	cmd := &cobra.Command{
		Use: "destroy NAME...", Short: "Kill VMs and remove them; their checkpoints stay", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.manager(cmd.Context(), true)
			if err != nil {
				return err
			}
			var first error
			for _, name := range args {
				kept, err := m.Destroy(cmd.Context(), name, checkpoints)
				switch {
				case err != nil && first == nil:
					first = err
				case err != nil:
					fmt.Fprintln(a.err, "noid: "+untrusted.Text([]byte(err.Error())))
				case kept > 0:
					fmt.Fprintf(a.err, "noid: %d checkpoints of %q stay; 'noid restore %s ID' brings it back, 'noid destroy --checkpoints %s' removes them\n", kept, name, name, name)
				}
			}
			return first
		},
	}
	cmd.Flags().BoolVar(&checkpoints, "checkpoints", false, "remove the checkpoints too")
	return cmd
}

// checkFile is what 'config set' asks of a file beyond being there.
func checkFile(key, value string) error {
	switch key {
	case "kernel":
		_, err := boot.InspectKernel(value)
		return err
	case "rootfs":
		return boot.CheckExt4(value)
	case "firecracker", "qemu":
		if info, err := os.Stat(value); err == nil && (info.IsDir() || info.Mode()&0o111 == 0) {
			return errs.New(errs.ErrUsage, "%q is not an executable file", value)
		}
	}
	return nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}

func (a *app) startCmd() *cobra.Command {
	return a.simple("start", "Boot a stopped or dead VM from its disk", func(cmd *cobra.Command, m *vm.Manager, name string) error {
		if err := volume.Room(m.Home.Dir()); err != nil {
			return err
		}
		if info, err := m.Get(cmd.Context(), name); err == nil {
			a.notice(info.Machine.Driver)
		}
		return m.Start(cmd.Context(), name)
	})
}

func (a *app) stopCmd() *cobra.Command {
	var force bool
	cmd := a.simple("stop", "Ask the guest to shut down, and kill it after 10 s", func(cmd *cobra.Command, m *vm.Manager, name string) error {
		return m.Stop(cmd.Context(), name, force)
	})
	cmd.Flags().BoolVar(&force, "force", false, "kill at once")
	return cmd
}

func (a *app) pauseCmd() *cobra.Command {
	return a.simple("pause", "Freeze a running VM", func(cmd *cobra.Command, m *vm.Manager, name string) error {
		return m.Tell(cmd.Context(), name, vmm.Pause)
	})
}

func (a *app) resumeCmd() *cobra.Command {
	return a.simple("resume", "Let a paused VM run on", func(cmd *cobra.Command, m *vm.Manager, name string) error {
		return m.Tell(cmd.Context(), name, vmm.Resume)
	})
}

// simple is a verb that takes one VM's name and prints nothing.
func (a *app) simple(verb, short string, run func(*cobra.Command, *vm.Manager, string) error) *cobra.Command {
	return &cobra.Command{Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		m, err := a.manager(cmd.Context(), true)
		if err != nil {
			return err
		}
		return run(cmd, m, args[0])
	}}
}
