package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"noid/internal/boot"
	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/kvm"
	"noid/internal/setup"
)

func (a *app) setupCmd() *cobra.Command {
	var wish string
	var undo bool
	cmd := &cobra.Command{
		Use: "setup", Short: "Get what is missing (VMM, kernel, root file system) and make it the default", Args: cobra.NoArgs,
		Long: "Get what is missing (VMM, kernel, root file system) and make it the default.\n\n" + storageHelp + exitHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			home, err := a.open()
			if err != nil {
				return err
			}
			if undo && wish == "btrfs" {
				return usageError("--undo-storage with --storage btrfs", "give one of the two")
			}
			if undo {
				return a.setStorage(ctx, "plain", "setup --undo-storage")
			}
			if err := a.setupStorage(ctx, wish); err != nil {
				return err
			}
			o := a.setupOptions()
			setup.Sweep(o)
			if driver, err := a.choose(ctx, ""); err != nil {
				return err
			} else if driver == "qemu" {
				if _, err := a.vmmVersion(ctx, "qemu"); err != nil {
					if err := setup.QEMU(ctx, o); err != nil {
						return err
					}
				}
			}
			if _, err := boot.InspectKernel(a.config.Kernel); a.config.Kernel == "" || err != nil {
				path, err := setup.Kernel(ctx, o)
				if err != nil {
					return err
				}
				if err := config.Set(home.ConfigPath(), "kernel", path, checkFile); err != nil {
					return err
				}
				a.say("kernel: %s", path)
			}
			if err := boot.CheckExt4(a.config.Rootfs); a.config.Rootfs == "" || err != nil {
				path, err := setup.Rootfs(ctx, o)
				if err != nil {
					return err
				}
				if err := config.Set(home.ConfigPath(), "rootfs", path, checkFile); err != nil {
					return err
				}
				a.say("root file system: %s", path)
			}
			a.say("ready: noid create NAME")
			return nil
		},
	}
	cmd.Flags().StringVar(&wish, "storage", "", "btrfs: move the home's storage to a btrfs volume; plain: move it back")
	cmd.Flags().BoolVar(&undo, "undo-storage", false, "move the home's storage out of its btrfs volume, and do nothing else")
	return cmd
}

// vmmVersion asks the VMM of a driver for its version.
func (a *app) vmmVersion(ctx context.Context, driver string) (string, error) {
	d, err := a.driver(driver)
	if err != nil {
		return "", err
	}
	return d.Version(ctx)
}

func (a *app) setupOptions() setup.Options {
	return setup.Options{KernelsDir: a.home.KernelsDir(), ImagesDir: a.home.ImagesDir(), Progress: func(s string) { a.say("%s", s) }}
}

// check is a line of doctor.
type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Cure   string `json:"cure,omitempty"`
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
			var checks []check
			add := func(name, detail, cure string, err error) bool {
				c := check{Name: name, OK: err == nil, Detail: detail}
				if err != nil {
					c.Detail, c.Cure = err.Error(), or(errs.Hint(err), cure)
				}
				checks = append(checks, c)
				return c.OK
			}
			probe, err := kvm.Probe()
			if err == nil && !probe.Real() {
				err = fmt.Errorf("/dev/kvm opens, but its guests run only %.1f million instructions a second: it is emulated", probe.Rate/1e6)
			}
			add("KVM", fmt.Sprintf("%.0f million instructions a second (probed in %d ms)", probe.Rate/1e6, probe.Took.Milliseconds()),
				"QEMU runs guests without KVM, slowly; for KVM use a host with virtualization and join the group kvm", err)
			fc, fcErr := a.vmmVersion(ctx, "firecracker")
			add("Firecracker", "version "+fc, "put the binary firecracker on PATH, if this host has KVM", fcErr)
			q, qErr := a.vmmVersion(ctx, "qemu")
			add("QEMU", "version "+q, "run 'noid setup'", qErr)
			_, kErr := boot.InspectKernel(a.config.Kernel)
			add("kernel", a.config.Kernel, "run 'noid setup', or 'noid config set kernel PATH'", kErr)
			rErr := boot.CheckExt4(a.config.Rootfs)
			add("root file system", a.config.Rootfs, "run 'noid setup', or 'noid config set rootfs PATH'", rErr)
			checkStorage(home, add)
			checkConfinement(home.Dir(), add)
			if err := ctx.Err(); err != nil {
				return err // what was cut short tells nothing about the host
			}
			if asJSON {
				if err := printJSON(a.out, checks); err != nil {
					return err
				}
			} else {
				for _, c := range checks {
					mark := "✓"
					if !c.OK {
						mark = "✗"
					}
					fmt.Fprintf(a.out, "%s %s: %s\n", mark, c.Name, c.Detail)
					if c.Cure != "" {
						fmt.Fprintf(a.out, "  hint: %s\n", c.Cure)
					}
				}
			}
			if fcErr != nil && qErr != nil || kErr != nil || rErr != nil {
				return codeError{exitHost}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "build the database anew from the records beside the VMs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// release is noid's version; the build may set it with -ldflags -X.
var release = "0.1.0-dev"

func version() string { return release }

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
			return printJSON(a.out, map[string]string{"version": version(), "revision": revision, "go": runtime.Version(), "arch": runtime.GOARCH})
		}
		fmt.Fprintf(a.out, "noid %s %s/%s %s\n", version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
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
