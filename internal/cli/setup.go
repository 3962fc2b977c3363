package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/errs"
	"noid/internal/image/source"
	"noid/internal/image/store"
	"noid/internal/setup"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

const setupHelp = `Get what is missing and make it the default: a VMM that needs no KVM, a kernel, and the image ` + setup.DefaultImage + `.
Where no registry answers, setup makes a small root file system instead of the image.

On a terminal, setup says what it will do and why, and asks. What it cannot do it leaves to you, with the one line to
type. It may be interrupted and repeated. http_proxy and https_proxy are honoured. Without a network, name the files:
--kernel FILE --rootfs FILE, or --image with a file as 'noid image pull --help' names them.

`

func (a *app) setupCmd() *cobra.Command {
	var wish string
	var undo, dryRun, yes bool
	var files setup.Files
	cmd := &cobra.Command{
		Use: "setup", Short: "Get a VMM, a kernel and an image",
		Long:    setupHelp + storageHelp,
		Example: "  noid setup\n  noid setup --dry-run\n  sudo NOID_HOME=$HOME/.noid noid setup --storage btrfs",
		PreRun:  func(*cobra.Command, []string) { a.asRoot = undo || wish != "" },
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, _ []string) error {
			if undo && wish == "btrfs" {
				return usageError("--undo-storage with --storage btrfs", "give one of the two")
			}
			if wish != "" && wish != "btrfs" && wish != "plain" {
				return usageError(fmt.Sprintf("no way to keep the storage: %q", wish), "choose btrfs or plain")
			}
			if undo && dryRun {
				printPlan(a.out, setup.Plan{}, "plain")
				return nil
			}
			if undo {
				return setup.SetStorage(ctx, a.setupOptions(m), "plain", "setup --undo-storage")
			}
			if files.Image != "" && files.Rootfs != "" {
				return usageError("--image with --rootfs", "give one of the two")
			}
			driver, err := driverWish(m.Drivers, "")
			if err == nil {
				driver, err = m.ChooseDriver(ctx, driver)
			}
			if err != nil {
				return err
			}
			if files.Image, err = canonicalImage(files.Image); err != nil {
				return err
			}
			plan, err := setup.MakePlan(ctx, a.setupOptions(m), driver, files)
			if err != nil {
				return err
			}
			if dryRun {
				printPlan(a.out, plan, wish)
				return nil
			}
			if len(plan.Steps) > 0 && a.onTerminal() {
				printPlan(a.err, plan, wish)
				if !yes && !a.confirm(ctx) {
					return errs.WithHint(errors.New("nothing was done"), "'noid setup --kernel FILE --rootfs FILE' takes files of your own")
				}
			}
			return setup.Run(ctx, a.setupOptions(m), plan, wish)
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask on a terminal; without one, setup does not ask")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what setup would do, and do nothing")
	cmd.Flags().StringVar(&files.Kernel, "kernel", "", "`file` or name of a kernel to use, instead of getting one")
	cmd.Flags().StringVar(&files.Rootfs, "rootfs", "", "`file` with a root file system to use, an ext4 image, instead of making one")
	cmd.Flags().StringVar(&files.Image, "image", "", "`image` to pull and use, instead of "+setup.DefaultImage+"; "+setup.NoImage+": make the small root file system")
	cmd.Flags().StringVar(&wish, "storage", "", "btrfs: move the home's storage to a btrfs volume; plain: move it back")
	cmd.Flags().BoolVar(&undo, "undo-storage", false, "move the home's storage out of its btrfs volume, and do nothing else")
	return cmd
}

// printPlan prints what setup does, a line each. storage is what the storage is to be, "" for what it is.
func printPlan(w io.Writer, plan setup.Plan, storage string) {
	lines := plan.Lines()
	switch storage {
	case "btrfs":
		lines = append(lines, "move the storage to a btrfs volume in the home, unless it is there or shares blocks already (--storage btrfs)")
	case "plain":
		lines = append(lines, "move the storage out of its btrfs volume, if it is in one")
	}
	if len(lines) == 0 {
		lines = []string{"nothing: all that VMs need is there"}
	}
	fmt.Fprintln(w, "noid setup will:")
	for _, line := range lines {
		fmt.Fprintln(w, "  "+untrusted.Line(line, maxCell))
	}
}

// onTerminal reports whether somebody can be asked.
func (a *app) onTerminal() bool {
	return term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd()))
}

// confirm asks on the terminal.
func (a *app) confirm(ctx context.Context) bool {
	fmt.Fprint(a.err, "Go on? [Y/n] ")
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(os.Stdin, 1024)).ReadString('\n')
		if err != nil {
			line = "n" // an end of file is no yes
		}
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return false
	case line := <-answer:
		return line == "" || line == "y" || line == "yes"
	}
}

// canonicalImage is the one form of a reference that config.toml keeps.
func canonicalImage(ref string) (string, error) {
	if ref == "" || ref == setup.NoImage {
		return ref, nil
	}
	return source.Canonical(ref)
}

// setupOptions are those of package setup for the home of m.
func (a *app) setupOptions(m *vm.Manager) setup.Options {
	return setup.Options{
		Home: m.Home, Config: m.Config,
		Version: func(ctx context.Context, name string) (string, error) {
			d, err := m.Drivers.Driver(name)
			if err != nil {
				return "", err
			}
			return d.Version(ctx)
		},
		CheckImage: func(ctx context.Context, ref string) error {
			src, err := source.Open(ctx, ref, m.Images().Options)
			if err == nil {
				src.Close()
			}
			return err
		},
		PullImage: func(ctx context.Context, ref string) error {
			return m.ChangeImages(ctx, "setup", func(s *store.Store) error {
				s.Options.Progress = &source.Progress{}
				defer a.showDownload(s.Options.Progress)()
				_, _, err := s.Get(ctx, ref, store.Missing)
				return err
			})
		},
		Progress: func(line string) { a.say("%s", line) },
		Notice: func(line string) {
			if !a.quiet {
				fmt.Fprintln(a.err, "noid: "+line)
			}
		},
	}
}
