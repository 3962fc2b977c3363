package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/helper"
	"noid/internal/vm"
	"noid/internal/vmm/drivers"
)

// helperVerb is the hidden verb that runs beside each VMM, in the VM's directory. It is told the driver, and the VMM as
// proc.Process.Args names it.
const helperVerb = "helper"

// dueVerb is the hidden verb by which a helper makes a checkpoint that is due.
const dueVerb = "checkpoint-due"

func (a *app) dueCmd() *cobra.Command {
	return &cobra.Command{
		Use: dueVerb + " NAME", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error { return m.CheckpointAuto(ctx, args[0]) }),
	}
}

func (a *app) helperCmd() *cobra.Command {
	return &cobra.Command{
		Use: helperVerb, Hidden: true, Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.drivers(drivers.Config{}, nil).Driver(args[0]) // no home is opened: there is a helper a VM
			if err != nil {
				return err
			}
			n, err := vm.NetworkHelper()
			if err != nil {
				return err
			}
			return helper.Run(context.WithoutCancel(cmd.Context()), d, args[1:], func(ctx context.Context) error {
				m, err := a.manager()
				if err != nil {
					return err
				}
				return m.ResumeHere(ctx)
			}, n, ownCommand(dueVerb))
		},
	}
}

// ownCommand is noid's own command for a hidden verb. It is nil in a test, whose binary has no verbs.
func ownCommand(verb string) []string {
	if self, err := os.Executable(); err == nil && strings.HasPrefix(filepath.Base(self), "noid") {
		return []string{self, verb}
	}
	return nil
}
