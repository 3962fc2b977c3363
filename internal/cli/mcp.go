package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/mcp"
	"noid/internal/version"
	"noid/internal/vmm/drivers"
)

func (a *app) mcpCmd() *cobra.Command {
	var o mcp.Options
	var client string
	cmd := &cobra.Command{
		Use: "mcp", Short: "Serve a coding agent over the Model Context Protocol",
		Long: `Serve noid's verbs as tools to a program that speaks the Model Context Protocol, such as a coding agent, on standard input
and output. The program starts noid itself: --print-config prints what to put into its configuration.

The tools make VMs, run commands in them, read and write their files, and take everything back: checkpoint, restore, undo,
fork, explore, diff. Commands' output is cut in the middle; the rest can be read. VMs are the user's own, as those of the
command line.

A client cannot open this machine's network to a VM, nor read this machine's files, but for those below DIR with --files DIR.
`,
		Example: "  noid mcp --print-config claude\n  noid mcp --files ~/src/project",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Files != "" {
				if o.Files, err = filepath.Abs(o.Files); err != nil {
					return err
				}
				if info, err := os.Stat(o.Files); err != nil || !info.IsDir() {
					return usageError(fmt.Sprintf("--files %s is not a directory", o.Files), "")
				}
			}
			if cmd.Flags().Changed("print-config") {
				return a.printClientConfig(client, o)
			}
			if o.Driver, err = driverWish(a.drivers(drivers.Config{}, nil), ""); err != nil {
				return err
			}
			o.Version, o.Open = version.Release, a.openForProgram
			if term.IsTerminal(int(os.Stdin.Fd())) {
				a.say("noid: a program is to start this: 'noid mcp --print-config CLIENT' says how; Ctrl+C ends it")
			}
			return mcp.Serve(cmd.Context(), o, os.Stdin, os.Stdout)
		},
	}
	cmd.Flags().StringVar(&o.Files, "files", "", "`DIR` of this machine from and to which the client may copy")
	cmd.Flags().StringVar(&client, "print-config", "", "print what a `CLIENT` needs: "+strings.Join(mcp.Clients(), ", "))
	return cmd
}

// printClientConfig prints what goes into the configuration of a client.
func (a *app) printClientConfig(client string, o mcp.Options) error {
	self, set, err := ownInvocation()
	if err != nil {
		return err
	}
	args := []string{"mcp"}
	if o.Files != "" {
		args = append(args, "--files", o.Files)
	}
	env := map[string]string{}
	for _, e := range set {
		key, value, _ := strings.Cut(e, "=")
		env[key] = value
	}
	text, where, err := mcp.ClientConfig(client, self, args, env)
	if err != nil {
		return err
	}
	if !a.quiet {
		fmt.Fprintf(a.err, "noid: this goes into %s\n", where)
	}
	_, err = fmt.Fprint(a.out, text)
	return err
}
