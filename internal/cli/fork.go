package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

// maxForks bounds the clones of one fork: a slip of the keyboard must not take the host down.
const maxForks = 1000

func (a *app) forkCmd() *cobra.Command {
	var o vm.ForkOptions
	var as, prefix string
	var n int
	cmd := &cobra.Command{
		Use: "fork NAME[@ID]", Short: "Make running copies of a VM, or of a checkpoint", Args: cobra.ExactArgs(1),
		Long: `Make running copies of a running or paused VM. The VM stands still once, and all copies start from that moment. With @ID
they start from a checkpoint of the VM.
Each gets a hostname and a machine-id of its own. Their names are printed, and on stderr what failed: the others run all the same.
`,
		Example: "  noid fork dev --as dev-copy\n  noid fork dev@before-upgrade -n 3 --prefix try-",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, ref, err := vm.ParseRef(args[0])
			if err != nil {
				return err
			}
			flags := cmd.Flags()
			switch {
			case flags.Changed("as") && (flags.Changed("n") || flags.Changed("prefix")):
				return usageError("--as names one copy, -n and --prefix many", "leave one of them out")
			case n < 1 || n > maxForks:
				return usageError(fmt.Sprintf("%d copies", n), fmt.Sprintf("-n takes 1 to %d", maxForks))
			case flags.Changed("as"):
				o.Names = []string{as}
			default:
				if !flags.Changed("prefix") {
					prefix = name + "-"
				}
				for i := range n {
					o.Names = append(o.Names, prefix+strconv.Itoa(i+1))
				}
			}
			for _, clone := range o.Names {
				if err := vm.CheckName(clone); err != nil {
					return err
				}
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			var failed []error
			downtime, err := m.Fork(cmd.Context(), name, ref, o, func(clone string, err error) {
				if err != nil {
					failed = append(failed, err)
					if len(o.Names) > 1 && cmd.Context().Err() == nil { // of Ctrl+C is told once
						a.complain(err)
					}
					return
				}
				fmt.Fprintln(a.out, clone)
			})
			switch {
			case err != nil:
				return err
			case len(failed) > 0 && len(o.Names) == 1:
				return failed[0]
			case len(failed) > 0:
				return fmt.Errorf("%d of %d copies could not be made", len(failed), len(o.Names))
			}
			if ref == "" && !a.quiet {
				fmt.Fprintf(a.err, "downtime %.0f ms\n", downtime)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "the name of the one copy")
	cmd.Flags().IntVarP(&n, "n", "n", 1, "how many copies")
	cmd.Flags().StringVar(&prefix, "prefix", "", "what their names begin with, before a number (default the VM's name and '-')")
	cmd.Flags().BoolVar(&o.KeepIdentity, "keep-identity", false, "keep the source's hostname and machine-id")
	return cmd
}
