package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// The groups of verbs in noid's help, as they follow one another there.
const (
	groupLife        = "life"
	groupRun         = "run"
	groupCheckpoints = "checkpoints"
	groupImages      = "images"
	groupNetwork     = "network"
	groupSetup       = "setup"
	groupPrograms    = "programs"
)

// ExitStatus is the annotation of a verb whose exit codes are not the common ones.
const ExitStatus = "exit-status"

const exitCodes = `noid's exit codes:

  0    done
  1    failed
  2    wrong usage
  3    no such VM, checkpoint, image or file
  4    it exists already, or another noid is busy with it
  5    it is not in the state that this needs, such as running
  6    timed out
  7    this host cannot: no VMM, no kernel or root file system, no space
  130  interrupted

'run', 'exec', 'try' and 'shell' return the guest command's own code: 128+N for signal N, 127 not found, 126 not executable,
124 when --timeout ran out, 125 when noid itself failed.
`

const environmentHelp = `What noid reads of the environment:

  NOID_HOME    where VMs, checkpoints and the configuration are (default ~/.noid)
  NOID_DRIVER  the driver of new VMs, where --driver does not name one
  NO_COLOR     is honoured: noid prints no colours

A flag wins over the environment, the environment over config.toml, and config.toml over noid's defaults
('noid help config' lists them).
`

// writeUsage writes a command's usage: cobra's own, with the verbs in groups and what the exit codes mean. It is no
// template: those would bring two MiB of reflection into noid.
func writeUsage(w io.Writer, cmd *cobra.Command) error {
	var b strings.Builder
	part := func(title, text string) {
		if text = strings.TrimRight(text, " \n"); text != "" {
			fmt.Fprintf(&b, "\n%s:\n%s\n", title, text)
		}
	}
	b.WriteString("Usage:\n")
	if cmd.Runnable() {
		b.WriteString("  " + cmd.UseLine() + "\n")
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("  " + cmd.CommandPath() + " [command]\n")
	}
	part("Also called", "  "+strings.Join(cmd.Aliases, ", "))
	part("Examples", cmd.Example)
	for _, g := range cmd.Groups() {
		part(g.Title, commandList(cmd, func(c *cobra.Command) bool { return c.GroupID == g.ID && c.IsAvailableCommand() }))
	}
	if len(cmd.Groups()) == 0 {
		part("Commands", commandList(cmd, (*cobra.Command).IsAvailableCommand))
	}
	part("Flags", cmd.LocalFlags().FlagUsages())
	part("Global flags", cmd.InheritedFlags().FlagUsages())
	part("Topics", commandList(cmd, (*cobra.Command).IsAdditionalHelpTopicCommand))
	if text := cmd.Annotations[ExitStatus]; text != "" {
		part("Exit status", text)
	} else {
		b.WriteString("\nExit codes: see 'noid help exit-codes'.\n")
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("Help on a command: '" + cmd.CommandPath() + " [command] --help'.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// commandList lists those commands below cmd that are wanted.
func commandList(cmd *cobra.Command, wanted func(*cobra.Command) bool) string {
	var b strings.Builder
	for _, c := range cmd.Commands() {
		if wanted(c) {
			fmt.Fprintf(&b, "  %-12s %s\n", c.Name(), c.Short)
		}
	}
	return b.String()
}

// showHelp is a command's help: what it does, then its usage.
func showHelp(cmd *cobra.Command, _ []string) {
	cmd.InitDefaultHelpFlag()
	text := strings.TrimSpace(cmp.Or(cmd.Long, cmd.Short+"."))
	fmt.Fprintln(cmd.OutOrStdout(), text)
	if cmd.Runnable() || cmd.HasSubCommands() {
		fmt.Fprintln(cmd.OutOrStdout())
		writeUsage(cmd.OutOrStdout(), cmd)
	}
}

// helpCmd is 'noid help'. An unknown word is wrong usage, not a wish for all the help.
func helpCmd(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND...]", Short: "Explain a command or a topic", GroupID: groupSetup, Example: "  noid help exec\n  noid help exit-codes",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usage(root, fmt.Errorf("unknown command %q for %q", strings.Join(args, " "), "noid help"))
			}
			return cmd.Help()
		},
	}
}

// topics are the help texts that belong to no verb.
func topics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "exit-codes", Short: "What noid's exit codes mean", Long: exitCodes},
		{Use: "environment", Short: "What noid reads of the environment", Long: environmentHelp},
	}
}
