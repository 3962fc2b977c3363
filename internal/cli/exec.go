package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

const (
	notFoundCode = 127 // of a command that the guest does not have
	timeoutCode  = 124 // of a command that --timeout ended, as timeout(1) has it
	// brokenPipe is the exit code of a command whose reader left: what a shell shows for SIGPIPE.
	brokenPipe = 128 + int(syscall.SIGPIPE)
)

// commandStatus is the exit status of exec and run.
const commandStatus = `  The command's own; 128+N for signal N, 127 not found, 126 not executable, 124 when --timeout ran out,
  125 when noid itself failed, 2 for wrong usage, 130 interrupted.`

func (a *app) execCmd() *cobra.Command {
	var c vm.Command
	cmd := &cobra.Command{
		Use: "exec [flags] NAME[@ID] [--] CMD [ARG...]", Short: "Run a command in the guest",
		Long: `Run a command in the guest. Its output comes as the command writes it, and noid exits with its exit code.
The command gets noid's standard input only with -i, and a terminal only with -t.
SIGINT, SIGTERM, SIGHUP and SIGQUIT go to the command; with -t only SIGINT does, and the others end noid. A second SIGINT
within 2 seconds ends noid at once, and any signal does when the guest's agent has not answered for 10 seconds. When
noid ends, the guest hangs the command up. A command started with -d runs on.

NAME@ID looks into a checkpoint, and NAME@now into a VM as it is, running or not. A clone that nobody else sees runs the
command, and is gone afterwards: what is written there is lost. It has the processes, the memory and the clock of that
moment, but no network and no secrets. What has no memory, as a VM that is stopped, is booted for it, without its own
services.

A guest without noid's agent gets the command over its serial console, as any guest does with --serial. There output and
error are one stream, and -i, -t, -u and -d are refused.
`,
		Annotations: map[string]string{ExitStatus: commandStatus},
		Example:     "  noid exec dev -- uname -a\n  noid exec -it dev -- bash\n  tar c . | noid exec -i dev -- tar x -C /srv\n  noid exec dev@before-upgrade -- cat /etc/passwd",
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.Argv = guestWords(args[1:]); len(c.Argv) == 0 {
				return arguments(cmd, args[:1])
			}
			return a.exec(cmd.Context(), args[0], c)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the name is the guest's
	commandFlags(f, &c)
	durationVar(f, &c.Wait, "wait-timeout", time.Minute, "how long to wait for the guest to be up")
	f.BoolVarP(&c.Detach, "detach", "d", false, "leave it running and print its id, for 'noid ps', 'attach' and 'kill'")
	f.BoolVar(&c.Serial, "serial", false, "over the serial console")
	f.StringVar(&c.Auto, "auto", "", "`exec` for a checkpoint before it or off for none, whatever 'noid auto' says of the VM")
	f.StringVar(&c.Turn, "turn", "", "the `ID` of your turn, whose commands have one checkpoint together: see 'noid auto'")
	return cmd
}

// commandFlags are the flags that exec and run have in common.
func commandFlags(f *pflag.FlagSet, c *vm.Command) {
	f.BoolVarP(&c.Stdin, "interactive", "i", false, "pass standard input on")
	f.BoolVarP(&c.TTY, "tty", "t", false, "run it on a terminal")
	f.StringArrayVarP(&c.Env, "env", "e", nil, "set `KEY=VALUE`; KEY alone takes its value from here")
	f.StringVarP(&c.Dir, "workdir", "w", "", "`directory` to run in (default the image's, else the user's home)")
	f.StringVarP(&c.User, "user", "u", "", "`USER[:GROUP]` to run as, names or numbers (default the image's, else root)")
	durationVar(f, &c.Timeout, "timeout", 0, "end the command after this long (SIGTERM, SIGKILL 5 s later) and return 124")
}

// guestWords are the words of a guest's command, which may have a -- before it.
func guestWords(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

// checkCommand refuses flags that do not go together, and resolves those of -e that have no value.
func checkCommand(c *vm.Command) (err error) {
	switch {
	case c.Detach && (c.Stdin || c.TTY):
		err = errors.New("-d leaves the command alone: it goes with neither -i nor -t")
	case c.Stdin && c.TTY && !term.IsTerminal(int(os.Stdin.Fd())):
		err = errs.WithHint(errors.New("the input device is not a terminal"), "leave out -t")
	default:
		c.Env, err = environment(c.Env)
	}
	return errs.Mark(err, errs.ErrUsage)
}

// environment resolves a KEY without a value from noid's own environment; one that is not set there is left out.
func environment(env []string) ([]string, error) {
	var out []string
	for _, e := range env {
		key, _, has := strings.Cut(e, "=")
		if key == "" || strings.ContainsRune(e, 0) {
			return nil, fmt.Errorf("-e %q is not KEY=VALUE", e)
		}
		if !has {
			value, set := os.LookupEnv(key)
			if !set {
				continue
			}
			e = key + "=" + value
		}
		out = append(out, e)
	}
	return out, nil
}

// exec runs c in the guest of arg, NAME or NAME@ID.
func (a *app) exec(ctx context.Context, arg string, c vm.Command) error {
	if err := checkCommand(&c); err != nil {
		return err
	}
	name, ref, err := vm.ParseRef(arg)
	if err != nil {
		return err
	}
	m, err := a.manager()
	if err != nil {
		return err
	}
	return a.attach(ctx, &c, func(ctx context.Context, s vm.Streams) (vm.Exit, error) {
		if ref != "" {
			return m.ExecAt(ctx, name, ref, c, s)
		}
		return m.Exec(ctx, name, c, s)
	})
}

// attach connects this process's streams, terminal and signals to the command that run runs, and turns its end into
// noid's.
func (a *app) attach(ctx context.Context, c *vm.Command, run func(context.Context, vm.Streams) (vm.Exit, error)) error {
	// Once the command runs signals are its own: the run's context, which they end, is not what ends it.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	f := a.forwardSignals(ctx, cancel, c.TTY, c.Detach)
	defer f.stop()
	s := vm.Streams{Out: a.out, Err: a.err, Signals: f.out}
	if c.Stdin {
		s.In = os.Stdin
	}
	restore := func() {}
	var t *terminal
	if c.TTY {
		t = newTerminal(ctx)
		c.Size, c.Term, s.Resize = t.size(), os.Getenv("TERM"), t.resize
	}
	s.Begin = func() (err error) {
		f.begin()
		if t != nil && c.Stdin {
			restore, err = t.raw()
		}
		return err
	}
	s.End = func() { restore(); f.end() }
	defer s.End()
	exit, err := run(ctx, s)
	s.End()
	switch {
	case errors.Is(err, syscall.EPIPE):
		return codeError{brokenPipe}
	case f.begun.Load() && errors.Is(err, context.Canceled):
		return codeError{exitInterrupted}
	case err != nil:
		return err
	}
	return a.ended(exit, c)
}

// shortID is how many digits of a job's id people see.
const shortID = 8

// ended turns the end of a command into noid's own.
func (a *app) ended(exit vm.Exit, c *vm.Command) error {
	if exit.Job != "" {
		fmt.Fprintln(a.out, exit.Job[:shortID])
		return nil
	}
	if exit.Error != "" {
		fmt.Fprintln(a.err, "noid: "+untrusted.Text([]byte(exit.Error)))
	}
	if exit.Lost > 0 {
		fmt.Fprintf(a.err, "noid: the command's output was dropped while noid was away: %d bytes\n", exit.Lost)
	}
	if exit.TimedOut {
		fmt.Fprintf(a.err, "noid: the command timed out after %s (--timeout)\n", c.Timeout)
		return codeError{timeoutCode}
	}
	if exit.Code == 0 {
		return nil
	}
	if exit.Code == notFoundCode && !c.Shell && len(c.Argv) > 0 && strings.HasPrefix(c.Argv[0], "-") {
		fmt.Fprintf(a.err, "hint: the flags of %s go before the VM's name\n", a.typed)
	}
	return codeError{exit.Code}
}
