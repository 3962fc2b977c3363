package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/helper"
	"noid/internal/proc"
	"noid/internal/vmm"
	"noid/internal/vmm/drivers"
)

// helperVerb is the hidden verb that runs beside each VMM, in the VM's directory; see vm.Manager.Helper. It is told the
// driver's name, and the VMM's pid, start time and boot id.
const helperVerb = "helper"

func (a *app) helperCmd() *cobra.Command {
	return &cobra.Command{
		Use: helperVerb, Hidden: true, Args: cobra.ExactArgs(4),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := drivers.New(drivers.Config{}, nil).Driver(args[0]) // it starts no VMM
			if err != nil {
				return err
			}
			return helper.Run(context.WithoutCancel(cmd.Context()), d, args[1:], a.resumeHere)
		},
	}
}

// pauseGuardVerb is the hidden verb that waits beside a checkpoint; see vm.Manager.PauseGuard.
const pauseGuardVerb = "pause-guard"

func (a *app) pauseGuardCmd() *cobra.Command {
	return &cobra.Command{
		Use: pauseGuardVerb, Hidden: true, Args: cobra.ExactArgs(4),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := proc.Parse(args[1:])
			if err != nil {
				return err
			}
			if n, _ := os.Stdin.Read(make([]byte, 1)); n > 0 {
				return nil // the guest runs
			}
			ctx := context.WithoutCancel(cmd.Context())
			m, err := a.manager(ctx, false)
			if err != nil {
				return err
			}
			return m.LetRun(ctx, args[0], p)
		},
	}
}

// resumeHere is 'noid resume' for the VM whose directory is the current one. It fails while another command has the VM.
func (a *app) resumeHere(ctx context.Context) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	m, err := a.manager(ctx, false)
	if err != nil {
		return err
	}
	if dir != m.Home.VMDir(filepath.Base(dir)) {
		return errors.New("the VM is not in its place") // it is being restored
	}
	return m.Tell(ctx, filepath.Base(dir), vmm.Resume)
}

// ownCommand is noid's own command for a hidden verb. It is nil in a test, whose binary has no verbs.
func ownCommand(verb string) []string {
	if self, err := os.Executable(); err == nil && strings.HasPrefix(filepath.Base(self), "noid") {
		return []string{self, verb}
	}
	return nil
}

// startHelper starts the helper of the VM whose directory is dir, by whatever name: while a clone is made it has none of its
// own yet.
func startHelper(driver, dir string) error {
	found := vmm.FindIn(dir)
	if len(found) == 0 {
		return errors.New("its VMM has ended")
	}
	command := ownCommand(helperVerb)
	if command == nil {
		return errors.New("this program is not noid")
	}
	return helper.Start(command, driver, dir, found[0])
}
