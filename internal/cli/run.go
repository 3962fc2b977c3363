package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) runCmd() *cobra.Command {
	var o vm.RunOptions
	c := vm.Command{Wait: createWait}
	cmd := &cobra.Command{
		Use: "run [flags] NAME@ID [--] CMD [ARG...]", Short: "Run a command in a new VM",
		Long: `Run a command in a new VM, a clone of the checkpoint NAME@ID. Standard streams, signals and exit code are the command's as
with 'noid exec'. Without --name the VM gets a name of two words.
When the command has ended the VM is stopped: its disk stays, and 'noid start' boots it. With --rm it is destroyed; if
noid is killed, the next command that changes something does that. With -d the VM runs on, and its name is printed.
`,
		Annotations: map[string]string{ExitStatus: commandStatus},
		Example:     "  noid run --rm dev@1a2b3c4d make test\n  noid run --rm -it dev@before-upgrade bash\n  noid run -d --name web dev@ready httpd -f",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if c.Argv = guestWords(args[1:]); len(c.Argv) == 0 {
				return arguments(cmd, args[:1])
			}
			if cmd.Flags().Changed("name") { // an empty one comes from a script's unset variable
				if err := vm.CheckName(o.Name); err != nil {
					return err
				}
			}
			if o.VM, o.Checkpoint, err = vm.ParseRef(args[0]); err != nil {
				return err
			}
			if o.Checkpoint == "" {
				return usageError(fmt.Sprintf("run: %q is no checkpoint", args[0]), "write NAME@ID; 'noid checkpoints' lists them; 'noid exec' runs a command in a VM that is there")
			}
			return a.run(cmd.Context(), o, c)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows is the guest's
	f.BoolVar(&o.Remove, "rm", false, "destroy the VM when the command has ended")
	f.StringVar(&o.Name, "name", "", "the VM's `NAME`")
	commandFlags(f, &c)
	f.BoolVarP(&c.Detach, "detach", "d", false, "leave the command running and print the VM's name")
	return cmd
}

// run runs c in a new VM.
func (a *app) run(ctx context.Context, o vm.RunOptions, c vm.Command) error {
	if err := checkCommand(&c); err != nil {
		return err
	}
	m, err := a.manager()
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
