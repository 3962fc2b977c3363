package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/console"
	"noid/internal/errs"
	"noid/internal/vm"
	"noid/internal/vmm"
)

func (a *app) execCmd() *cobra.Command {
	var timeout, wait time.Duration
	cmd := &cobra.Command{
		Use: "exec [flags] NAME [--] CMD [ARG...]", Short: "Run a command in the guest, over its serial console",
		Long: `Run a command in the guest, over its serial console: its output, as it comes, and its exit code.
Kernel messages that fall into the output are left out as far as they can be told from it.

EXIT STATUS
  The command's own; 128+N for signal N, 127 not found, 126 not executable, 124 when --timeout ran out,
  125 when noid itself failed, 2 for wrong usage, 130 interrupted.
`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, argv := args[0], args[1:]
			if argv[0] == "--" {
				argv = argv[1:]
			}
			if len(argv) == 0 {
				return errs.WithHint(errs.Mark(fmt.Errorf("no command given"), errs.ErrUsage), "noid exec "+name+" -- uname -a")
			}
			m, info, err := a.live(cmd.Context(), name, "exec")
			if err != nil {
				return err
			}
			code, err := console.Exec(cmd.Context(), m.Home.VMDir(name), argv, console.ExecOptions{Stdout: a.out, WaitBoot: wait, Timeout: timeout, Alive: info.Alive()})
			if err != nil {
				return fmt.Errorf("exec in vm %q: %w", name, err)
			}
			if code == 124 && timeout > 0 {
				a.say("noid: exec timed out after %s", timeout)
			}
			if code != 0 {
				return codeError{code}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the name is the guest's
	f.DurationVar(&timeout, "timeout", 0, "interrupt the command after this long and return 124")
	f.DurationVar(&wait, "wait-timeout", time.Minute, "how long to wait for the guest to be up")
	f.Bool("serial", true, "over the console, the only way for now")
	return cmd
}

// live returns a VM that runs.
func (a *app) live(ctx context.Context, name, verb string) (*vm.Manager, vm.Info, error) {
	m, err := a.manager(ctx, false)
	if err != nil {
		return nil, vm.Info{}, err
	}
	info, err := m.Get(ctx, name)
	if err != nil {
		return nil, vm.Info{}, err
	}
	switch info.State {
	case vmm.Running:
		return m, info, nil
	case vmm.Paused:
		return nil, info, errs.WithHint(errs.Mark(fmt.Errorf("%s: vm %q is paused", verb, name), errs.ErrState), "let it run with 'noid resume "+name+"'")
	case vm.Dead:
		err = errs.Mark(fmt.Errorf("%s: vm %q is dead\n%s", verb, name, a.vmmTail(m, info)), errs.ErrState)
		return nil, info, errs.WithHint(err, "'noid start "+name+"' boots it from its disk")
	}
	return nil, info, errs.WithHint(errs.Mark(fmt.Errorf("%s: vm %q is not running: it is %s", verb, name, info.State), errs.ErrState), "boot it with 'noid start "+name+"'")
}

// vmmTail is the end of the VMM's log, for an error about a dead VM.
func (a *app) vmmTail(m *vm.Manager, info vm.Info) string {
	return console.Sanitize(vmm.Tail(filepath.Join(m.Home.VMDir(info.Name), info.Machine.Driver+".log"), 1024))
}

func (a *app) logsCmd() *cobra.Command {
	var follow, vmmLog bool
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Print what the console wrote, or the VMM", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.manager(cmd.Context(), false)
			if err != nil {
				return err
			}
			info, err := m.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			file := vmm.SerialLogFile
			if vmmLog {
				file = info.Machine.Driver + ".log"
			}
			out := console.NewSanitizer(a.out) // the guest wrote it: no escape sequence may reach a terminal
			return errors.Join(console.CopyLog(cmd.Context(), out, filepath.Join(m.Home.VMDir(info.Name), file), follow, info.Alive()), out.Flush())
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as more is written")
	cmd.Flags().BoolVar(&vmmLog, "vmm", false, "the VMM's own log")
	return cmd
}

// guardVerb is the hidden verb that bounds a console's log; see vm.Manager.Guard.
const guardVerb = "console-guard"

func (a *app) guardCmd() *cobra.Command {
	return &cobra.Command{
		Use: guardVerb, Hidden: true, Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			pid, err := strconv.Atoi(args[0])
			if err != nil {
				return err
			}
			ticks, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil {
				return err
			}
			p := vmm.Process{PID: pid, StartTicks: ticks, BootID: args[2]}
			return console.Guard(context.WithoutCancel(cmd.Context()), vmm.SerialLogFile, p.Alive)
		},
	}
}
