// Package cli is noid's command line: one file a verb, and in this file the only place where an error becomes an exit
// code and a hint.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/version"
	"noid/internal/vm"
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

// app is what the verbs share during one run.
type app struct {
	ctx      context.Context // the run's, for manager
	out, err io.Writer
	quiet    bool
	started  bool   // a verb runs: errors are no longer the parser's
	typed    string // the verb
	asRoot   bool   // it is one of root's in anybody's home
	vms      *vm.Manager
	drivers  newDrivers
}

// newDrivers makes the drivers of all VMs. Those of a test are fake.
type newDrivers func(c drivers.Config, startHelper func(driver, dir string) error) vm.Drivers

func realDrivers(c drivers.Config, startHelper func(driver, dir string) error) vm.Drivers {
	return drivers.New(c, startHelper)
}

// codeError carries an exit code of its own: a guest command's.
type codeError struct{ code int }

func (e codeError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// Main runs noid with args and returns its exit code.
func Main(args []string) int { return run(args, realDrivers) }

// Commands returns noid's commands, for its manual.
func Commands() *cobra.Command { return (&app{}).root() }

func run(args []string, d newDrivers) int {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // most commands end before they have garbage worth collecting
	}
	ctx, stop := signal.NotifyContext(context.Background(), heeded(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)...)
	defer stop()
	out := &output{Writer: os.Stdout}
	a := &app{out: out, err: os.Stderr, drivers: d}
	root := a.root()
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		root.InitDefaultHelpCmd()
		addCompletion(root)
	}
	root.SetArgs(args)
	root.SetOut(out)
	cmd, err := root.ExecuteContextC(ctx)
	if a.vms != nil {
		a.vms.Close()
	}
	return a.report(ctx, cmd, out.lost(err))
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
	if ctx.Err() != nil {
		a.complain(errs.WithHint(errors.New("interrupted"), errs.Hint(err)))
	} else {
		a.complain(err)
	}
	code := exitCode(err)
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case slices.Contains([]string{"exec", "run", "shell", "attach", "try"}, cmd.Name()) && a.started && code != exitUsage:
		return exitExecFailed
	}
	return code
}

// complain prints err and its hint, both harmless for a terminal. A hint that the next error has too is printed once.
func (a *app) complain(err error) {
	list := errs.List(err)
	for i, err := range list {
		fmt.Fprintln(a.err, "noid: "+strings.TrimRight(untrusted.Text([]byte(err.Error())), "\n"))
		hint := hintOf(err)
		if hint != "" && (i+1 == len(list) || hint != hintOf(list[i+1])) {
			fmt.Fprintln(a.err, "hint: "+untrusted.Text([]byte(hint)))
		}
	}
}

func hintOf(err error) string { return cmp.Or(errs.Hint(err), fullHint(err)) }

// exitCode is that of err's kind, of several errors the first one's.
func exitCode(err error) int {
	err = errs.List(err)[0]
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

func (a *app) root() *cobra.Command {
	cobra.EnableCommandSorting = false // the commonest come first
	var showVersion bool
	root := &cobra.Command{
		Use: "noid", Short: "Make, run, checkpoint, restore and fork microVMs",
		Long: "noid makes, runs, checkpoints, restores and forks microVMs on this machine.\n" +
			"Start with 'noid setup', then 'noid create NAME'.",
		Example:       "  noid create dev\n  noid exec dev -- uname -a\n  noid checkpoint dev\n  noid restore dev 1a2b3c4d --as dev-copy",
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) { a.started, a.ctx, a.typed = true, cmd.Context(), cmd.Name() },
		Args:             cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if showVersion {
				return a.printVersion(false)
			}
			if len(args) == 0 {
				return cmd.Help()
			}
			a.started = false
			return fmt.Errorf("unknown command %q for %q", args[0], "noid")
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetUsageFunc(func(cmd *cobra.Command) error { return writeUsage(cmd.OutOrStderr(), cmd) })
	root.SetHelpFunc(showHelp)
	root.Flags().BoolVar(&showVersion, "version", false, "print noid's version")
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "no progress, downtime and notices; errors keep their hints")
	for _, g := range []struct {
		id, title string
		verbs     []*cobra.Command
	}{
		{groupLife, "VMs", []*cobra.Command{a.createCmd(), a.listCmd(), a.startCmd(), a.stopCmd(), a.pauseCmd(), a.resumeCmd(), a.inspectCmd(), a.resizeCmd(), a.renameCmd(), a.destroyCmd()}},
		{groupRun, "In the guest", []*cobra.Command{a.runCmd(), a.execCmd(), a.shellCmd(), a.cpCmd(), a.psCmd(), a.attachCmd(), a.killCmd(), a.logsCmd(), a.consoleCmd()}},
		{groupCheckpoints, "Checkpoints", []*cobra.Command{a.checkpointCmd(), a.checkpointsCmd(), a.logCmd(), a.diffCmd(), a.restoreCmd(), a.undoCmd(), a.redoCmd(), a.tryCmd(), a.autoCmd(), a.exploreCmd(), a.keepCmd(), a.bisectCmd(), a.forkCmd(), a.forgetCmd(), a.pinCmd(true), a.pinCmd(false), a.verifyCmd()}},
		{groupImages, "Images", []*cobra.Command{a.imageCmd(), a.commitCmd()}},
		{groupNetwork, "Network", []*cobra.Command{a.netCmd(), a.portCmd(), a.forwardCmd(), a.networkCmd()}},
		{groupSetup, "Set-up and storage", []*cobra.Command{a.setupCmd(), a.doctorCmd(), a.selftestCmd(), a.configCmd(), a.kernelCmd(), a.secretCmd(), a.duCmd(), a.pruneCmd(), a.versionCmd(), a.completionCmd()}},
		{groupPrograms, "For programs", []*cobra.Command{a.mcpCmd(), a.hookCmd(), a.serveCmd(), a.sshConfigCmd()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, verb := range g.verbs {
			verb.GroupID = g.id
			root.AddCommand(verb)
			for _, c := range append(verb.Commands(), verb) {
				if c.Args == nil {
					c.Args = arguments
				}
			}
		}
	}
	root.SetHelpCommand(helpCmd(root))
	root.AddCommand(topics()...)
	root.AddCommand(a.helperCmd(), a.dueCmd(), a.sshProxyCmd())
	return root
}

// say prints chatter: to a terminal alone, and not with -q.
func (a *app) say(format string, args ...any) {
	if !a.quiet && term.IsTerminal(int(os.Stderr.Fd())) {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// open opens the home and the configuration. With a damaged configuration it returns the manager and an error.
func (a *app) open() (*vm.Manager, error) {
	if a.vms != nil {
		return a.vms, nil
	}
	m, err := a.openFor(a.ctx, a.typed)
	a.vms = m
	return m, err
}

// openFor is open for verb alone. The caller closes the manager.
func (a *app) openFor(ctx context.Context, verb string) (*vm.Manager, error) {
	m, err := vm.Open(ctx, "", verb, a.asRoot)
	if m == nil {
		return nil, err
	}
	os.Setenv("NOID_HOME", m.Home.Dir()) // a helper works in another directory, where a relative path would mislead
	m.HelperCommand, m.Version = ownCommand(helperVerb), version.Release
	m.Drivers = a.drivers(drivers.Config{Firecracker: m.Config.Firecracker, QEMU: m.Config.QEMU}, m.StartHelper)
	m.Warn = func(s string) { fmt.Fprintln(a.err, "noid: "+untrusted.Text([]byte(s))) }
	m.Notice = func(s string) { a.say("noid: %s", untrusted.Text([]byte(s))) }
	if !a.quiet {
		m.WarnEmulated = sync.OnceFunc(func() {
			fmt.Fprintln(a.err, "noid: no usable KVM: guests are emulated, expect 10–50 times slower")
		})
	}
	return m, err
}

// manager is open for a verb that needs the configuration.
func (a *app) manager() (*vm.Manager, error) {
	m, err := a.open()
	if err != nil {
		return nil, err
	}
	return m, nil
}

// verb is what a command runs: it opens the home first.
func (a *app) verb(run func(ctx context.Context, m *vm.Manager, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		m, err := a.manager()
		if err != nil {
			return err
		}
		return run(cmd.Context(), m, args)
	}
}

// simple is a verb that takes VMs' names and prints nothing. Its example ends in flags.
func (a *app) simple(verb, short, flags string, run func(context.Context, *vm.Manager, string) error) *cobra.Command {
	return &cobra.Command{Use: verb + " NAME...", Short: short, Example: "  noid " + verb + flags + " dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			return a.each(ctx, args, m.CheckExists, func(ctx context.Context, name string) error { return run(ctx, m, name) })
		})}
}
