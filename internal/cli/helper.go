package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/console"
	"noid/internal/helper"
	"noid/internal/proc"
	"noid/internal/vmm"
	"noid/internal/vmm/qemu"
)

// helperVerb is the hidden verb that runs beside each VMM, in the VM's directory; see vm.Manager.Helper. It is told the
// VMM's pid, start time and boot id.
const helperVerb = "helper"

const (
	// helperWait is how long a new helper waits for the one before, of a VMM that has just ended, to go.
	helperWait = 5 * time.Second
	// helperMemory makes the collector work harder rather than a helper grow: there is one a VM.
	helperMemory = 32 << 20
	// trimEvery is how often the VMM's own logs are looked at. They grow by lines, not by the guest's output.
	trimEvery = 10 * time.Second
)

func (a *app) helperCmd() *cobra.Command {
	return &cobra.Command{
		Use: helperVerb, Hidden: true, Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := proc.Parse(args)
			if err != nil {
				return err
			}
			debug.SetMemoryLimit(helperMemory)
			return a.help(context.WithoutCancel(cmd.Context()), p)
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

// help helps p until its end. The current directory is the VM's, and everything goes by relative names: whatever the
// directory is renamed to, it stays this VM's.
func (a *app) help(ctx context.Context, p proc.Process) error {
	wait, cancel := context.WithTimeout(ctx, helperWait)
	defer cancel()
	if mine, err := helper.Lock(wait); err != nil || !mine {
		return err // another one is at work
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() {
		p.Wait(ctx)
		end()
	}()
	var all sync.WaitGroup
	var served error
	all.Go(func() { served = qemu.ServeAgent(ctx) })
	if _, err := os.Lstat(vmm.MemoryFile); err == nil {
		all.Go(func() { qemu.WatchSpace(ctx, a.resumeHere) })
	}
	for _, log := range []string{vmm.SerialLogFile, "qemu.log", "qmp.out", "firecracker.log"} {
		if _, err := os.Lstat(log); err != nil {
			continue // another driver's
		}
		all.Go(func() {
			for p.Alive() && ctx.Err() == nil { // a log that cannot be shortened now may be later
				if err := console.Guard(ctx, log, p.Alive); err == nil {
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(trimEvery):
				}
			}
		})
	}
	all.Wait()
	return served
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

// startHelper starts the helper of the VM whose directory is dir, by whatever name: while a clone is made it has none of its own yet.
func startHelper(dir string) error {
	found := vmm.FindIn(dir)
	if len(found) == 0 {
		return errors.New("its VMM has ended")
	}
	command := ownCommand(helperVerb)
	if command == nil {
		return errors.New("this program is not noid")
	}
	return helper.Start(command, dir, found[0])
}
