package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/console"
	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/link/wire"
	"noid/internal/untrusted"
	"noid/internal/vm"
	"noid/internal/vmm"
)

// execOptions are the flags of exec.
type execOptions struct {
	stdin, tty, detach, serial bool
	env                        []string
	dir, user                  string
	timeout, wait              time.Duration
}

func (a *app) execCmd() *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use: "exec [flags] NAME [--] CMD [ARG...]", Short: "Run a command in the guest",
		Long: `Run a command in the guest: its output, as it comes, and its exit code. It gets this command's input only with -i, and a terminal
only with -t. SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on; a second SIGINT within 2 s leaves at once, which hangs the command up,
as noid's own death does, unless it was started with -d.

A guest without noid's agent, or with --serial, gets the command over its serial console: output and error are one there, and -i, -t, -u
and -d cannot be had.

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
				return errs.New(errs.ErrUsage, "no command given").Hint("noid exec " + name + " -- uname -a")
			}
			return a.exec(cmd.Context(), name, argv, o)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the name is the guest's
	f.BoolVarP(&o.stdin, "interactive", "i", false, "pass standard input on")
	f.BoolVarP(&o.tty, "tty", "t", false, "run it on a terminal")
	f.StringArrayVarP(&o.env, "env", "e", nil, "set `KEY=VALUE`; KEY alone takes its value from here")
	f.StringVarP(&o.dir, "workdir", "w", "", "`directory` to run in (default the user's home)")
	f.StringVarP(&o.user, "user", "u", "", "`USER[:GROUP]` to run as, names or numbers")
	f.DurationVar(&o.timeout, "timeout", 0, "end the command after this long (SIGTERM, SIGKILL 5 s later) and return 124")
	f.DurationVar(&o.wait, "wait-timeout", time.Minute, "how long to wait for the guest to be up")
	f.BoolVarP(&o.detach, "detach", "d", false, "leave it running and print its id, for 'noid ps' and 'noid kill'")
	f.BoolVar(&o.serial, "serial", false, "over the serial console")
	return cmd
}

func (o *execOptions) check() error {
	var err error
	switch {
	case o.detach && (o.stdin || o.tty):
		err = errors.New("-d leaves the command alone: it goes with neither -i nor -t")
	case o.stdin && o.tty && !term.IsTerminal(int(os.Stdin.Fd())):
		err = errs.WithHint(errors.New("the input device is not a terminal"), "leave out -t")
	case o.timeout < 0 || o.wait < 0:
		err = errors.New("a negative time")
	}
	if err == nil {
		o.env, err = environment(o.env)
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

// exec runs argv in the guest, over the agent or the console.
func (a *app) exec(ctx context.Context, name string, argv []string, o execOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	for _, arg := range argv {
		if strings.ContainsRune(arg, 0) {
			return errs.New(errs.ErrUsage, "the command contains a NUL byte")
		}
	}
	e := wire.Exec{Argv: bytesOf(argv), Env: bytesOf(o.env), Dir: o.dir, User: o.user, TTY: o.tty, Stdin: o.stdin, TimeoutMs: o.timeout.Milliseconds()}
	if o.timeout > 0 {
		e.TimeoutMs = max(e.TimeoutMs, 1)
	}
	m, info, err := a.recorded(ctx, name, "exec")
	if err != nil {
		return err
	}
	if o.serial || !hasAgent(info) {
		return a.execSerial(ctx, m, name, argv, o)
	}
	c, err := m.Agent(info)
	if err != nil {
		return err
	}
	patience := fallbackAfter
	if _, err := os.Lstat(silentFile(m, name)); err == nil {
		patience = silentAfter
	}
	c.Patience = max(min(o.wait, patience), time.Millisecond)
	switch err = a.introduce(ctx, m, c, info, c.Patience); {
	case err == nil:
		err = a.execAgent(ctx, c, name, e, o)
	case !errors.Is(err, link.ErrNoAnswer):
		err = execError(name, err)
	}
	if !errors.Is(err, link.ErrNoAnswer) {
		return err
	}
	return a.execEither(ctx, m, c, name, argv, e, o, err)
}

func bytesOf(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i, s := range list {
		out[i] = []byte(s)
	}
	return out
}

func hasAgent(info vm.Info) bool { return info.Machine.Agent }

// recorded returns a VM whose VMM runs, going by its record alone: the quick way to a VM that is as it should be. Any other is
// looked at thoroughly, for the right words.
func (a *app) recorded(ctx context.Context, name, verb string) (*vm.Manager, vm.Info, error) {
	m, err := a.manager(ctx, false)
	if err != nil {
		return nil, vm.Info{}, err
	}
	if info, err := m.Recorded(name); err == nil && info.Process.Alive() {
		return m, info, nil
	}
	return a.live(ctx, name, verb)
}

// live returns a VM that runs.
func (a *app) live(ctx context.Context, name, verb string) (*vm.Manager, vm.Info, error) {
	m, err := a.manager(ctx, false)
	if err != nil {
		return nil, vm.Info{}, err
	}
	info, err := m.Get(ctx, name)
	if err == nil && info.State == vmm.Paused { // for a checkpoint, perhaps: that one holds the lock until it is over
		lock, busy := m.Home.Lock(ctx, name, verb)
		if busy != nil {
			return nil, info, busy
		}
		lock.Unlock()
		info, err = m.Get(ctx, name)
	}
	if err != nil {
		return nil, vm.Info{}, err
	}
	switch info.State {
	case vmm.Running:
		return m, info, nil
	case vmm.Paused:
		return nil, info, errs.New(errs.ErrState, "%s: vm %q is paused", verb, name).Hint("let it run with 'noid resume " + name + "'")
	case vm.Dead:
		err = errs.New(errs.ErrState, "%s: vm %q is dead\n%s", verb, name, a.vmmTail(m, info))
		return nil, info, errs.WithHint(err, "'noid start "+name+"' boots it from its disk")
	}
	return nil, info, errs.New(errs.ErrState, "%s: vm %q is not running: it is %s", verb, name, info.State).Hint("boot it with 'noid start " + name + "'")
}

// execSerial runs argv over the console. -e and -w are done by a shell there.
func (a *app) execSerial(ctx context.Context, m *vm.Manager, name string, argv []string, o execOptions) error {
	var flags []string
	for _, f := range []struct {
		on   bool
		name string
	}{{o.stdin, "-i"}, {o.tty, "-t"}, {o.user != "", "-u"}, {o.detach, "-d"}} {
		if f.on {
			flags = append(flags, f.name)
		}
	}
	if len(flags) > 0 {
		err := errs.New(errs.ErrUsage, "exec in vm %q over its serial console cannot have %s", name, strings.Join(flags, " "))
		return errs.WithHint(err, "'noid console "+name+"' attaches to the console; a VM made without --no-agent has the agent for this")
	}
	_, info, err := a.live(ctx, name, "exec")
	if err != nil {
		return err
	}
	if err := touch(ctx, m, info); err != nil {
		return err
	}
	if !o.serial {
		a.say("noid: no agent in vm %q: over its serial console, where output and error are one", name)
	}
	code, err := console.Exec(ctx, m.Home.VMDir(name), wrapped(argv, o), console.ExecOptions{Stdout: a.out, WaitBoot: o.wait, Timeout: o.timeout, Alive: info.Alive()})
	if err != nil {
		return fmt.Errorf("exec in vm %q: %w", name, err)
	}
	if code == console.TimeoutCode && o.timeout > 0 {
		a.say("noid: exec timed out after %s", o.timeout)
	}
	return codeOf(code)
}

// inPlace changes to the directory $1, exports the next $2 arguments and becomes the rest.
const inPlace = `if [ -n "$1" ]; then cd -- "$1" || exit 126; fi; n=$2; shift 2; while [ "$n" -gt 0 ]; do export "$1" || exit 126; shift; n=$((n-1)); done; exec "$@"`

// wrapped adds what -e and -w ask for to a command for a shell.
func wrapped(argv []string, o execOptions) []string {
	if len(o.env) == 0 && o.dir == "" {
		return argv
	}
	out := []string{"sh", "-c", inPlace, "sh", o.dir, fmt.Sprint(len(o.env))}
	return append(append(out, o.env...), argv...)
}

func codeOf(code int) error {
	if code == 0 {
		return nil
	}
	return codeError{code}
}

// brokenPipe is the exit code of a command whose reader left: what a shell shows for SIGPIPE.
const brokenPipe = 128 + int(syscall.SIGPIPE)

// vmmTail is the end of the VMM's log, for an error about a dead VM.
func (a *app) vmmTail(m *vm.Manager, info vm.Info) string {
	return untrusted.Text(untrusted.Tail(filepath.Join(m.Home.VMDir(info.Name), info.Machine.Driver+".log"), 1024))
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
			out := untrusted.NewWriter(a.out) // the guest wrote it: no escape sequence may reach a terminal
			err = console.CopyLog(cmd.Context(), out, filepath.Join(m.Home.VMDir(info.Name), file), follow, info.Alive())
			if errors.Is(err, os.ErrNotExist) { // no VMM has run yet, or the VM was destroyed meanwhile
				err = errs.Mark(err, errs.ErrNotFound)
			}
			return errors.Join(err, out.Flush())
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as more is written")
	cmd.Flags().BoolVar(&vmmLog, "vmm", false, "the VMM's own log")
	return cmd
}
