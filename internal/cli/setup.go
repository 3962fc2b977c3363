package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"noid/internal/setup"
	"noid/internal/vm"
)

func (a *app) setupCmd() *cobra.Command {
	var wish string
	var undo bool
	cmd := &cobra.Command{
		Use: "setup", Short: "Get a VMM, a kernel and a root file system",
		Long:    "Get a VMM that needs no KVM, a kernel and a root file system where they are missing, and make the two files\nthe defaults. It may be repeated.\n\n" + storageHelp,
		Example: "  noid setup\n  sudo NOID_HOME=$HOME/.noid noid setup --storage btrfs",
		PreRun:  func(*cobra.Command, []string) { a.asRoot = undo || wish != "" },
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, _ []string) error {
			if undo && wish == "btrfs" {
				return usageError("--undo-storage with --storage btrfs", "give one of the two")
			}
			if undo {
				return setup.SetStorage(ctx, a.setupOptions(m), "plain", "setup --undo-storage")
			}
			driver, err := driverWish(m, "")
			if err == nil {
				driver, err = m.ChooseDriver(ctx, driver)
			}
			if err != nil {
				return err
			}
			return setup.Run(ctx, a.setupOptions(m), driver, wish)
		}),
	}
	cmd.Flags().StringVar(&wish, "storage", "", "btrfs: move the home's storage to a btrfs volume; plain: move it back")
	cmd.Flags().BoolVar(&undo, "undo-storage", false, "move the home's storage out of its btrfs volume, and do nothing else")
	return cmd
}

// setupOptions are those of package setup for the home of m.
func (a *app) setupOptions(m *vm.Manager) setup.Options {
	return setup.Options{
		Home: m.Home, Config: m.Config,
		Version: func(ctx context.Context, name string) (string, error) {
			d, err := m.Drivers.Driver(name)
			if err != nil {
				return "", err
			}
			return d.Version(ctx)
		},
		Progress: func(line string) { a.say("%s", line) },
		Notice: func(line string) {
			if !a.quiet {
				fmt.Fprintln(a.err, "noid: "+line)
			}
		},
	}
}
