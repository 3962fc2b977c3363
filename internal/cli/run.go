package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/source"
	"noid/internal/vm"
	"noid/internal/vmm/drivers"
)

// sizes are the flags of run that a clone of a checkpoint cannot have.
var sizes = []string{"cpus", "mem", "disk", "driver", "net"}

func (a *app) runCmd() *cobra.Command {
	var o vm.RunOptions
	var entrypoint, cpus, mem, disk string
	var c vm.Command
	var n netFlags
	cmd := &cobra.Command{
		Use: "run [flags] IMAGE|NAME@ID [--] [CMD...]", Short: "Run a command in a new VM",
		Long: `Run a command in a new VM: one of an image, which is pulled if it is not here, or a clone of the checkpoint NAME@ID. Standard
streams, signals and exit code are the command's, as with 'noid exec'. CMD replaces the image's own command, but not its
entrypoint. Without --name the VM gets a name of two words.
When the command has ended the VM is stopped: its disk stays, and 'noid start' boots it. With --rm it is destroyed; if
noid is killed, the next command that changes something does that. With -d the VM runs on, and its name is printed. So
it does, without --rm, when noid is killed or could not run the command.
`,
		Annotations: map[string]string{ExitStatus: commandStatus},
		Example: `  noid run --rm python:3.13 python -c 'print(1)'
  noid run --rm -it debian bash
  noid run --rm dev@before-upgrade -- make test
  noid run -d --name web httpd:2`,
		PreRunE: func(cmd *cobra.Command, args []string) error {
			for _, flag := range append(sizes, "name") {
				f := cmd.Flags().Lookup(flag)
				if f.Changed && f.Value.String() == "" { // a script's unset variable
					return usageError("--"+flag+" needs a value", "")
				}
				if f.Changed && flag != "name" && vm.IsCheckpoint(args[0]) {
					return usageError("--"+flag+" with a checkpoint", "a clone is as large as its source, on the same driver, with the same network")
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c.Argv = guestWords(args[1:])
			if o.Net, err = n.options(); err != nil {
				return err
			}
			rules := len(o.Net.Allow) + len(o.Net.Deny) + len(o.Net.HostPorts)
			if (rules > 0 || o.Net.HostProxy || o.Net.HostCA != "") && vm.IsCheckpoint(args[0]) {
				return usageError("rules with a checkpoint", "a clone has its source's; 'noid net' changes them")
			}
			if cmd.Flags().Changed("entrypoint") {
				o.Entrypoint = &entrypoint
			}
			for _, size := range []struct {
				text, flag string
				to         *int
				parse      func(string) (int, error)
			}{{cpus, "cpus", &o.CPUs, config.ParseCPUs}, {mem, "mem", &o.MemMiB, config.ParseMiB}, {disk, "disk", &o.DiskMiB, config.ParseDisk}} {
				if size.text == "" {
					continue
				}
				if *size.to, err = size.parse(size.text); err != nil {
					return fmt.Errorf("--%s: %w", size.flag, err)
				}
			}
			return a.run(cmd.Context(), args[0], o, c)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows is the guest's
	f.BoolVar(&o.Remove, "rm", false, "destroy the VM when the command has ended")
	f.StringVar(&o.Name, "name", "", "the VM's `NAME`")
	commandFlags(f, &c)
	durationVar(f, &c.Wait, "wait-timeout", createWait, "how long to wait for the guest to be up")
	f.BoolVarP(&c.Detach, "detach", "d", false, "leave the command running and print the VM's name")
	f.StringVar(&entrypoint, "entrypoint", "", "run `PROGRAM` instead of the image's entrypoint; \"\" for none")
	f.StringVar(&cpus, "cpus", "", "virtual CPUs (default: config, then 1)")
	f.StringVar(&mem, "mem", "", "memory in MiB, or with a unit: 2G (default: config, then 1G)")
	f.StringVar(&disk, "disk", "", "size of the VM's own disk, 8G by default")
	n.add(f)
	f.StringVar(&o.Driver, "driver", "", strings.Join(drivers.Names(), " or ")+" (default: NOID_DRIVER, then config, then the best that works here)")
	return cmd
}

// run runs c in a new VM of the image or checkpoint ref.
func (a *app) run(ctx context.Context, ref string, o vm.RunOptions, c vm.Command) error {
	if err := checkCommand(&c); err != nil {
		return err
	}
	m, err := a.manager()
	if err != nil {
		return err
	}
	if vm.IsCheckpoint(ref) {
		o.VM, o.Checkpoint, err = vm.ParseRef(ref)
	} else if o.Driver, err = driverWish(m.Drivers, o.Driver); err != nil {
		return err
	} else if err = m.CheckNetwork(o.Net); err == nil {
		o.Image, o.Base, err = a.obtainImage(ctx, m, ref)
	}
	if err != nil {
		return err
	}
	return a.attach(ctx, &c, func(ctx context.Context, s vm.Streams) (vm.Exit, error) {
		name, exit, err := m.Run(ctx, o, c, s)
		if exit.Job != "" {
			fmt.Fprintln(a.out, name)
			exit.Job = ""
		}
		return exit, err
	})
}

// obtainImage returns the image ref and the path of its base. One that is not here is pulled.
func (a *app) obtainImage(ctx context.Context, m *vm.Manager, ref string) (*image.Image, string, error) {
	if a.typed == "run" && !source.IsFile(ref) && m.CheckExists(ref) == nil {
		if _, err := m.Images().Find(ref); errors.Is(err, errs.ErrNotFound) {
			return nil, "", errs.WithHint(err, "'noid exec "+ref+"' runs a command in the vm of that name, 'noid image pull "+ref+"' gets the image")
		}
	}
	progress := &source.Progress{}
	defer a.showDownload(progress)()
	img, base, err := m.ObtainImage(ctx, a.typed, ref, progress)
	if err != nil { // it may have been meant as a file
		err = cmp.Or(checkSource(ref), err)
	}
	return img, base, err
}
