package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/errs"
	"noid/internal/kernels"
	"noid/internal/setup"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

func (a *app) kernelCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "kernel", Short: "List, import and remove kernels", Args: cobra.ArbitraryArgs,
		Long: `List, import and remove the kernels that noid keeps. 'config set kernel' and 'create --kernel' take their names beside
paths.
`,
		Example: "  noid kernel import host\n  noid kernel ls\n  noid config set kernel 6.1.0-56-cloud-amd64",
		RunE: func(cmd *cobra.Command, args []string) error {
			a.started = false
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return usageError("ls, import or rm?", "see 'noid kernel --help'")
		}}
	cmd.AddCommand(a.kernelListCmd(), a.kernelImportCmd(), a.kernelRemoveCmd())
	return cmd
}

func (a *app) kernelListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the kernels that noid keeps", Example: "  noid kernel ls",
		RunE: a.verb(func(_ context.Context, m *vm.Manager, _ []string) error {
			list := kernels.List(m.Home.KernelsDir())
			if asJSON {
				return printJSON(a.out, list)
			}
			rows := [][]string{}
			for _, k := range list {
				note, isDefault := strings.Join(k.Lacks, "; "), ""
				if k.Broken != "" {
					note = "broken: " + k.Broken
				}
				if k.Path == m.Config.Kernel {
					isDefault = "yes"
				}
				rows = append(rows, []string{k.Name, k.Version, k.Arch, k.Format, map[bool]string{true: "yes", false: "no"}[k.Modules], isDefault, note})
			}
			if a.quiet {
				a.printColumn(rows)
				return nil
			}
			table(a.out, []string{"name", "version", "arch", "format", "modules", "default", "lacks"}, rows)
			return nil
		})}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.quietColumn(cmd, "names")
	return cmd
}

func (a *app) kernelImportCmd() *cobra.Command {
	var s kernels.Source
	var asJSON bool
	cmd := &cobra.Command{Use: "import FILE|host|debian", Short: "Keep a kernel and its modules under a name",
		Long: `Keep a kernel and its modules under a name, its version if none is given, and print the name. FILE is a bzImage, an ELF
vmlinux or an arm64 Image. 'host' is the kernel that this host runs; 'debian' downloads the distribution's for virtual
machines, on Debian, Ubuntu and what is like them. A kernel that cannot run VMs here is refused. What it lacks of what
noid could make use of is said: by its configuration, where there is one in it or beside it, and by its modules.
`,
		Example: "  noid kernel import host\n  noid kernel import debian\n  noid kernel import arch/x86/boot/bzImage --modules out/lib/modules --config .config --name mine",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			k, err := setup.ImportKernel(ctx, a.setupOptions(m), args[0], s)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, k)
			}
			fmt.Fprintln(a.out, k.Name)
			for _, lack := range k.Lacks {
				m.Warn(untrusted.Line("kernel "+k.Name+" has "+lack, maxCell))
			}
			a.say("use it: noid config set kernel %s, or noid create NAME --kernel %[1]s", k.Name)
			return nil
		})}
	f := cmd.Flags()
	f.StringVar(&s.Name, "name", "", "`name` of the kernel (default its version)")
	f.StringVar(&s.Modules, "modules", "", "`directory` of its modules, lib/modules or the one of its version there (default: as its package has it)")
	f.StringVar(&s.Config, "config", "", "`file` with its configuration (default: in it, or as its package has it)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) kernelRemoveCmd() *cobra.Command {
	return &cobra.Command{Use: "rm KERNEL...", Short: "Remove kernels", Example: "  noid kernel rm mine",
		Long: "Remove kernels. One that is the default, or that a VM was made of, is refused. Checkpoints have copies of their own.\n",
		RunE: a.verb(func(_ context.Context, m *vm.Manager, args []string) error {
			if m.Home.Made() {
				kernels.Sweep(m.Home.KernelsDir())
			}
			if err := checkAll(args, func(name string) error { return kernels.CheckExists(m.Home.KernelsDir(), name) }); err != nil {
				return err
			}
			var problems []error
			for _, name := range unique(args) {
				problems = append(problems, setup.RemoveKernel(a.setupOptions(m), name))
			}
			return errs.Join(problems...)
		})}
}
