package cli

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"noid/internal/errs"
	"noid/internal/hook"
	"noid/internal/vm"
)

// maxHookInput bounds what an agent says to its hook, in bytes: a file that it writes is in it.
const maxHookInput = 64 << 20

func (a *app) hookCmd() *cobra.Command {
	var o hook.Options
	var printConfig bool
	cmd := &cobra.Command{
		Use: "hook [flags] AGENT", Short: "Run a coding agent's commands in a VM, without its knowing",
		Long: `Answer the hook of a coding agent: read what it is about to do as JSON on standard input, and print what it is to do
instead. A command becomes a 'noid exec' in the VM, with a checkpoint before each of the agent's turns, so that 'noid undo
NAME' takes a turn back. A tool that would read or write this machine's files is refused, with the advice to use a command;
--host-files lets it be. Tools of MCP servers and of the web go on as they are.

AGENT is claude (Claude Code), codex, opencode, or opencode-v1. --print-config prints what goes into its configuration. Where
noid cannot answer it exits with 2, which stops the agent's tool: no command runs on this machine instead.
`,
		Example: "  noid create work --image python:3.13\n  noid hook --print-config --vm work claude >.claude/settings.local.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return arguments(cmd, args)
			}
			if o.Dir != "" && !path.IsAbs(o.Dir) {
				return usageError(fmt.Sprintf("-w %s is not absolute", o.Dir), "")
			}
			if err := vm.CheckName(o.VM); err != nil {
				return errs.WithHint(fmt.Errorf("--vm: %w", err), "--vm names the VM that the commands run in")
			}
			self, env, err := ownInvocation()
			if err != nil {
				return err
			}
			if o.Noid = []string{self}; len(env) > 0 {
				o.Noid = slices.Concat([]string{"env"}, env, o.Noid)
			}
			if printConfig {
				return a.printHookConfig(args[0], o)
			}
			return a.hook(args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.VM, "vm", "", "`NAME` of the VM")
	f.StringVarP(&o.Dir, "workdir", "w", "", "`directory` of the guest that commands begin in (default the image's, else the user's home)")
	f.BoolVar(&o.HostFiles, "host-files", false, "leave the agent's tools for files alone: they work on this machine's")
	f.BoolVar(&printConfig, "print-config", false, "print what the agent's configuration needs")
	return cmd
}

// hook answers one call. Whatever fails stops the agent: exit code 2 says that, and no other.
func (a *app) hook(agent string, o hook.Options) error {
	payload, err := io.ReadAll(io.LimitReader(os.Stdin, maxHookInput+1))
	var answer []byte
	if err == nil && len(payload) > maxHookInput {
		err = fmt.Errorf("more than %d MiB came on standard input", maxHookInput>>20)
	}
	if err == nil {
		answer, err = hook.Answer(agent, payload, o)
	}
	if err == nil && answer != nil {
		_, err = fmt.Fprintln(a.out, string(answer))
	}
	return errs.Mark(err, errs.ErrUsage)
}

// printHookConfig prints what goes into the configuration of agent.
func (a *app) printHookConfig(agent string, o hook.Options) error {
	argv := append(slices.Clone(o.Noid), "hook", "--vm", o.VM)
	if o.Dir != "" {
		argv = append(argv, "-w", o.Dir)
	}
	if o.HostFiles {
		argv = append(argv, "--host-files")
	}
	text, where, err := hook.Config(agent, append(argv, agent))
	if err != nil {
		return err
	}
	if !a.quiet {
		fmt.Fprintf(a.err, "noid: this goes into %s\n", where)
	}
	_, err = fmt.Fprint(a.out, text)
	return err
}

// ownInvocation is how another program starts this noid for the same home: its path, and what its environment has besides.
func ownInvocation() (self string, env []string, err error) {
	if self, err = os.Executable(); err != nil {
		return "", nil, err
	}
	if home := os.Getenv("NOID_HOME"); home != "" {
		if home, err = filepath.Abs(home); err != nil {
			return "", nil, err
		}
		env = append(env, "NOID_HOME="+home)
	}
	if driver := os.Getenv("NOID_DRIVER"); driver != "" {
		env = append(env, "NOID_DRIVER="+driver)
	}
	return self, env, nil
}
