package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/config"
	"noid/internal/vm"
	"noid/internal/vmm/drivers"
)

// createWait bounds 'create --wait': an emulated guest on a busy host takes a minute.
const createWait = 3 * time.Minute

func (a *app) createCmd() *cobra.Command {
	var o vm.CreateOptions
	var ref, cpus, mem, disk string
	var wait, asJSON bool
	var n netFlags
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a VM and boot it",
		Long: `Make a VM and boot it in the background. The first command in the first VM of a kernel, root file system, size and driver, or
--wait, saves that VM's guest as a template. The next ones are restored from it, each with an identity, a clock and random
numbers of its own.

Of an image, the VM has a small disk of its own over the image's, which all its VMs share. A disk takes the space that was
written to it. 'noid image --help' says how images are named.
`,
		Example: "  noid create dev\n  noid create big --cpus 2 --mem 1G --wait\n  noid create py --image python:3.13 --disk 20G",
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			for _, flag := range []string{"kernel", "rootfs", "image", "cpus", "mem", "disk", "driver", "net", "auto"} { // a script's unset variable
				if f := cmd.Flags().Lookup(flag); f.Changed && f.Value.String() == "" {
					return usageError("--"+flag+" needs a value", "")
				}
			}
			return nil
		},
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) (err error) {
			if cpus != "" {
				if o.CPUs, err = config.ParseCPUs(cpus); err != nil {
					return fmt.Errorf("--cpus: %w", err)
				}
			}
			if mem != "" {
				if o.MemMiB, err = config.ParseMiB(mem); err != nil {
					return fmt.Errorf("--mem: %w", err)
				}
			}
			if disk != "" {
				if o.DiskMiB, err = config.ParseDisk(disk); err != nil {
					return fmt.Errorf("--disk: %w", err)
				}
			}
			if o.Driver, err = driverWish(m.Drivers, o.Driver); err != nil {
				return err
			}
			if o.Net, err = n.options(); err == nil {
				err = m.CheckNetwork(o.Net)
			}
			if err != nil {
				return err
			}
			o.Name = args[0]
			if wait {
				o.Wait = createWait
			}
			if ref == "" && o.Rootfs == "" {
				ref = m.Config.Image
			}
			if ref != "" {
				if o.Image, o.Base, err = a.obtainImage(ctx, m, ref); err != nil {
					return err
				}
			}
			if err := m.Create(ctx, o); err != nil {
				return err
			}
			a.tellPorts(ctx, m, o.Name, o.Net.Ports)
			return a.printMade(ctx, m, o.Name, "", asJSON)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.Kernel, "kernel", "", "kernel: an ELF vmlinux, a bzImage, or a name of 'kernel ls' (default: config)")
	f.StringVar(&o.Rootfs, "rootfs", "", "root file system: an ext4 image, which is copied (default: config)")
	f.StringVar(&ref, "image", "", "image, such as debian:12, which is pulled if it is not there (default: config)")
	f.StringVar(&cpus, "cpus", "", "virtual CPUs (default: config, then 1)")
	f.StringVar(&mem, "mem", "", "memory in MiB, or with a unit: 2G (default: config, then 128; of an image 1024)")
	f.StringVar(&disk, "disk", "", "disk in MiB, or with a unit: 20G (default: of an image config, then 8G; else the root file system's)")
	f.StringVar(&o.Driver, "driver", "", strings.Join(drivers.Names(), " or ")+" (default: NOID_DRIVER, then config, then the best that works here)")
	f.StringVar(&o.BootArgs, "boot-args", "", "appended to the kernel's command line")
	n.add(f)
	f.StringVar(&o.Auto, "auto", "", "checkpoints by itself: exec, before each command, a `TIME` such as 5m, or off (default: config)")
	f.BoolVar(&o.Flat, "flat", false, "copy the image to the disk, for a kernel without overlayfs")
	f.BoolVar(&wait, "wait", false, "return when the VM can run commands, after 3 minutes at most")
	f.BoolVar(&o.Cold, "cold", false, "boot it, whatever template there is")
	f.BoolVar(&o.NoAgent, "no-agent", false, "leave noid's agent out of the guest: exec goes over the console")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// driverWish is the driver that a flag asks for, or the environment where there is no flag.
func driverWish(d vm.Drivers, flag string) (string, error) {
	wish := os.Getenv("NOID_DRIVER")
	if flag != "" || wish == "" {
		return flag, nil
	}
	if _, err := d.Driver(wish); err != nil {
		return "", fmt.Errorf("NOID_DRIVER: %w", err)
	}
	return wish, nil
}
