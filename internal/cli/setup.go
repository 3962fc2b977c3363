package cli

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"noid/internal/boot"
	"noid/internal/setup"
	"noid/internal/version"
)

const storageHelp = `On a file system that cannot share blocks (ext4), each checkpoint and each clone copies the disk. There,
'noid setup --storage btrfs' or 'noid config set storage btrfs', as root, moves the home's storage to a btrfs volume: a sparse
file in the home, mounted by the first command that root runs after a reboot, which grows before it is full (when root runs
'create', 'checkpoint', 'restore', 'start' or 'setup').
'noid setup --undo-storage' moves everything back. All VMs must be stopped.
`

func (a *app) setupCmd() *cobra.Command {
	var wish string
	var undo bool
	cmd := &cobra.Command{
		Use: "setup", Short: "Get what is missing (VMM, kernel, root file system) and make it the default", Args: cobra.NoArgs,
		Long: "Get what is missing (VMM, kernel, root file system) and make it the default.\n\n" + storageHelp + exitHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := a.open(); err != nil {
				return err
			}
			if undo && wish == "btrfs" {
				return usageError("--undo-storage with --storage btrfs", "give one of the two")
			}
			if undo {
				return setup.SetStorage(cmd.Context(), a.setupOptions(), "plain", "setup --undo-storage")
			}
			driver, err := a.choose(cmd.Context(), "")
			if err != nil {
				return err
			}
			return setup.Run(cmd.Context(), a.setupOptions(), driver, wish)
		},
	}
	cmd.Flags().StringVar(&wish, "storage", "", "btrfs: move the home's storage to a btrfs volume; plain: move it back")
	cmd.Flags().BoolVar(&undo, "undo-storage", false, "move the home's storage out of its btrfs volume, and do nothing else")
	return cmd
}

// setupOptions are those of package setup for the opened home.
func (a *app) setupOptions() setup.Options {
	return setup.Options{
		Home: a.home, Config: a.config,
		Version: func(ctx context.Context, name string) (string, error) {
			d, err := a.driver(name)
			if err != nil {
				return "", err
			}
			return d.Version(ctx)
		},
		Progress: func(line string) { a.say("%s", line) },
		Notice: func(line string) {
			if !a.quiet {
				fmt.Fprintln(a.err, "noid: "+line)
			}
		},
	}
}

func (a *app) doctorCmd() *cobra.Command {
	var repair, asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Say what this host can do, and the cure for what it cannot", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			home, err := a.open()
			if err != nil {
				return err
			}
			if repair {
				report, err := home.Repair(ctx)
				if err != nil {
					return err
				}
				fmt.Fprintln(a.out, report)
			}
			checks, canRun := setup.Checks(ctx, a.setupOptions())
			if err := ctx.Err(); err != nil {
				return err
			}
			if asJSON {
				err = printJSON(a.out, checks)
			} else {
				printChecks(a.out, checks)
			}
			if err == nil && !canRun {
				err = codeError{exitHost}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "build the database anew from the records beside the VMs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printChecks(w io.Writer, checks []setup.Check) {
	for _, c := range checks {
		mark := "✓"
		if !c.OK {
			mark = "✗"
		}
		fmt.Fprintf(w, "%s %s: %s\n", mark, c.Name, c.Detail)
		if c.Cure != "" {
			fmt.Fprintf(w, "  hint: %s\n", c.Cure)
		}
	}
}

func (a *app) versionCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "version", Short: "Print noid's version", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		revision := ""
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					revision = s.Value
				}
			}
		}
		if asJSON {
			return printJSON(a.out, map[string]any{"version": version.Release, "revision": revision, "go": runtime.Version(), "arch": runtime.GOARCH,
				"guest_programs": boot.HasPrograms()})
		}
		without := ""
		if !boot.HasPrograms() {
			without = " without the guest's programs: build noid with 'make build'"
		}
		fmt.Fprintf(a.out, "noid %s %s/%s %s%s\n", version.Release, runtime.GOOS, runtime.GOARCH, runtime.Version(), without)
		return nil
	}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) completionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Print a completion script", Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.out)
			}
		},
	}
}
