// Package cli is noid's command line: one file a verb, and in this file the only place where an error becomes an exit code
// and a hint.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/storage"
	"noid/internal/storage/volume"
	"noid/internal/untrusted"
	"noid/internal/version"
	"noid/internal/vm"
	"noid/internal/vmm"
	"noid/internal/vmm/drivers"
)

// Exit codes, as CLI documentation lists them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitExists      = 4
	exitState       = 5
	exitTimeout     = 6
	exitHost        = 7
	exitExecFailed  = 125
	exitInterrupted = 130
)

const exitHelp = `
EXIT STATUS
  0 done, 1 failed, 2 wrong usage, 3 no such VM, checkpoint or file, 4 exists already or busy,
  5 not in the state this needs, 6 timed out, 7 this host cannot, 130 interrupted.
`

// app is what the verbs share during one run.
type app struct {
	ctx      context.Context // the run's, for open
	verb     string          // what the user typed, for whoever waits for a lock
	out, err io.Writer
	quiet    bool
	started  bool // a verb runs: errors are no longer the parser's
	home     *home.Home
	config   config.Config
	drivers  *drivers.Set
	noticed  bool // the missing KVM was mentioned
}

// codeError carries an exit code of its own: a guest command's.
type codeError struct{ code int }

func (e codeError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// Main runs noid with args and returns its exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), heeded(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)...)
	defer stop()
	a := &app{out: os.Stdout, err: os.Stderr}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if a.home != nil {
		a.home.Close()
		a.home.GiveBack()
	}
	return a.report(ctx, cmd, err)
}

// ignored are the signals that noid was started to ignore: SIGHUP by nohup, SIGINT and SIGQUIT by a script's &.
var ignored = func() map[os.Signal]bool {
	m := map[os.Signal]bool{}
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		m[s] = signal.Ignored(s)
	}
	return m
}()

// heeded leaves out of list what noid was started to ignore.
func heeded(list ...os.Signal) []os.Signal {
	return slices.DeleteFunc(list, func(s os.Signal) bool { return ignored[s] })
}

// report prints err with its hint and returns the exit code that it stands for.
func (a *app) report(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[codeError](err); ok {
		return code.code
	}
	if !a.started {
		err = usage(cmd, err)
	}
	text, hint := untrusted.Text([]byte(err.Error())), errs.Hint(err)
	if hint == "" && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) {
		hint = storage.FullHint
	}
	if ctx.Err() != nil {
		text, hint = "interrupted", ""
	}
	fmt.Fprintln(a.err, "noid: "+strings.TrimRight(text, "\n"))
	if hint != "" {
		fmt.Fprintln(a.err, "hint: "+untrusted.Text([]byte(hint)))
	}
	code := exitCode(err)
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case (cmd.Name() == "exec" || cmd.Name() == "shell") && a.started && code != exitUsage:
		return exitExecFailed
	}
	return code
}

func exitCode(err error) int {
	for _, k := range []struct {
		kind error
		code int
	}{{errs.ErrUsage, exitUsage}, {errs.ErrNotFound, exitNotFound}, {errs.ErrExists, exitExists}, {errs.ErrBusy, exitExists},
		{errs.ErrState, exitState}, {errs.ErrTimeout, exitTimeout}, {errs.ErrHost, exitHost}, {syscall.ENOSPC, exitHost}, {syscall.EDQUOT, exitHost}} {
		if errors.Is(err, k.kind) {
			return k.code
		}
	}
	return exitFailed
}

// usage turns what the parser refused into an error with the nearest match and the place to read on.
func usage(cmd *cobra.Command, err error) error {
	text, hint := err.Error(), fmt.Sprintf("see '%s --help'", cmd.CommandPath())
	text, _, _ = strings.Cut(text, "\n")
	if word, ok := strings.CutPrefix(text, "unknown command \""); ok {
		word, _, _ = strings.Cut(word, "\"")
		var names []string
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				names = append(names, c.Name())
			}
		}
		if near := config.Nearest(word, names); near != "" {
			hint = fmt.Sprintf("did you mean '%s %s'?", cmd.CommandPath(), near)
		}
	}
	if word, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := config.Nearest(word, names); near != "" {
			hint = "did you mean '--" + near + "'?"
		}
	}
	if errs.Hint(err) != "" {
		hint = errs.Hint(err)
	}
	return errs.New(errs.ErrUsage, "%s", text).Hint(hint)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "noid", Short: "Make, run, checkpoint, restore and clone microVMs",
		Long:          "noid makes, runs, checkpoints, restores and clones microVMs on this machine.\nStart with 'noid setup', then 'noid create NAME'." + "\n" + exitHelp,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) { a.started, a.ctx, a.verb = true, cmd.Context(), cmd.Name() },
		Args:             cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			a.started = false
			return fmt.Errorf("unknown command %q for %q", args[0], "noid")
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "no progress and hints on a terminal")
	for _, verb := range []*cobra.Command{a.createCmd(), a.destroyCmd(), a.listCmd(), a.inspectCmd(), a.execCmd(), a.shellCmd(), a.psCmd(), a.killCmd(), a.cpCmd(), a.consoleCmd(), a.logsCmd(),
		a.startCmd(), a.stopCmd(), a.pauseCmd(), a.resumeCmd(), a.checkpointCmd(), a.checkpointsCmd(), a.restoreCmd(), a.forkCmd(), a.forgetCmd(), a.verifyCmd(), a.duCmd(),
		a.configCmd(), a.setupCmd(), a.doctorCmd(), a.versionCmd(), a.completionCmd(), a.helperCmd(), a.pauseGuardCmd()} {
		if verb.Long == "" {
			verb.Long = verb.Short + ".\n" + exitHelp
		}
		root.AddCommand(verb)
	}
	return root
}

// say prints chatter: to a terminal alone, and not with -q.
func (a *app) say(format string, args ...any) {
	if !a.quiet && term.IsTerminal(int(os.Stderr.Fd())) {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// open opens the home and the configuration.
func (a *app) open() (*home.Home, error) {
	if a.home != nil {
		return a.home, nil
	}
	dir, err := home.DefaultDir()
	if err != nil {
		return nil, err
	}
	if err := volume.Ready(a.ctx, dir, a.verb); err != nil {
		return nil, err
	}
	if a.home, err = home.Open(dir); err != nil {
		return nil, errors.Join(volume.Missing(dir), err)
	}
	a.config, err = config.Load(a.home.ConfigPath())
	a.drivers = drivers.New(drivers.Config{Firecracker: a.config.Firecracker, QEMU: a.config.QEMU}, startHelper)
	return a.home, err
}

// manager returns the domain over the opened home. sweep also removes what killed commands left: verbs that change things
// do that, verbs that look do not.
func (a *app) manager(ctx context.Context, sweep bool) (*vm.Manager, error) {
	home, err := a.open()
	if err != nil {
		return nil, err
	}
	if sweep {
		config.Sweep(home.ConfigPath())
		if err := home.Sweep(ctx, a.verb); err != nil {
			a.say("leftovers of an earlier command: %v", err)
		}
	}
	m := &vm.Manager{Home: home, Driver: a.driver, Version: version.Release, Warn: func(s string) { fmt.Fprintln(a.err, "noid: "+s) }}
	m.Helper, m.PauseGuard = ownCommand(helperVerb), ownCommand(pauseGuardVerb)
	return m, nil
}

// writer is manager for a verb that fills the disk.
func (a *app) writer(ctx context.Context) (*vm.Manager, error) {
	m, err := a.manager(ctx, true)
	if err == nil {
		err = volume.Room(m.Home.Dir())
	}
	return m, err
}

// driver returns the driver called name.
func (a *app) driver(name string) (vmm.Driver, error) { return a.drivers.Driver(name) }

// choose picks the driver of a new VM: flag, environment, configuration, else Firecracker where it can run well, else QEMU.
func (a *app) choose(ctx context.Context, flag string) (string, error) {
	for _, word := range []string{flag, os.Getenv("NOID_DRIVER"), a.config.Driver} {
		if word != "" {
			_, err := a.driver(word)
			return word, err
		}
	}
	return a.drivers.Choose(ctx), nil
}

// notice says once that a guest will be emulated.
func (a *app) notice(driver string) {
	if !a.noticed && !a.quiet && a.drivers.Emulates(driver) {
		a.noticed = true
		fmt.Fprintln(a.err, "noid: no usable KVM: the guest is emulated, expect 10–50 times slower")
	}
}
