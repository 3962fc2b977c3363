package cli

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) restoreCmd() *cobra.Command {
	var o vm.RestoreOptions
	var asJSON bool
	var ports portFlags
	restore := &cobra.Command{
		Use: "restore NAME ID", Short: "Go back to a checkpoint, or make a new VM from it with --as", Args: refArguments,
		Long: `Go back to a checkpoint, or make a new VM from it with --as. ID is an id, the beginning of one, or a label. NAME@ID will do too.
In place, the old VM runs until the new one does. Its state is saved as a checkpoint; of these, the newest 3 stay.
With --disk-only the guest boots from the checkpoint's disk, as where this host cannot load its memory. The guest writes back
what its programs have written before each checkpoint, if it can within 5 seconds ('noid checkpoints --json': synced).
`,
		Example: "  noid restore dev 1a2b3c4d\n  noid restore dev before-upgrade --as dev-copy",
		RunE: func(command *cobra.Command, args []string) error {
			name, ref, err := nameAndRef(args)
			if err != nil {
				return err
			}
			if command.Flags().Changed("as") { // an empty one, from a script's unset variable, would replace the source
				if err := vm.CheckName(o.As); err != nil {
					return err
				}
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			if o.KeepIdentity && o.As == "" {
				return usageError("--keep-identity without --as", "a restore in place keeps the identity anyway")
			}
			if o.Ports, err = ports.groups(); err != nil {
				return err
			}
			if o.Secrets = ports.secrets; o.Secrets != nil && o.As == "" {
				return usageError("--secret without --as", "a restore in place keeps the secrets; 'noid secret grant' adds one")
			}
			if o.Networks = ports.networks; o.Networks != nil && o.As == "" {
				return usageError("--network without --as", "a restore in place keeps the networks; 'noid network connect' adds one")
			}
			if o.Sockets, err = ports.sockets(); err != nil {
				return err
			}
			if len(o.Sockets) > 0 && o.As == "" {
				return usageError("sockets without --as", "a restore in place keeps the sockets; 'noid port' changes them")
			}
			if len(o.Ports) > 0 && o.As == "" {
				return usageError("-p without --as", "a restore in place keeps the ports; 'noid port' changes them")
			}
			backup := ""
			o.Kept = func(id string) { backup = id }
			if err := m.Restore(command.Context(), name, ref, o); err != nil {
				return err
			}
			a.tellPorts(command.Context(), m, cmp.Or(o.As, name), o.Ports)
			err = a.printMade(command.Context(), m, cmp.Or(o.As, name), backup, asJSON)
			if backup != "" && !asJSON && !a.quiet {
				fmt.Fprintf(a.err, "noid: the state before is %s@%s\n", name, backup)
			}
			return err
		},
	}
	restore.Flags().StringVar(&o.As, "as", "", "make a new VM of this name")
	restore.Flags().BoolVar(&o.KeepIdentity, "keep-identity", false, "with --as: keep the source's hostname and machine-id")
	ports.add(restore.Flags())
	restore.Flags().BoolVar(&o.DiskOnly, "disk-only", false, "boot the checkpoint's disk without its memory: what ran then does not")
	restore.Flags().BoolVar(&o.NoBackup, "no-backup", false, "do not keep the present state as a checkpoint")
	restore.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return restore
}

// nameAndRef takes "vm id" or "vm@id", which refArguments has let through.
func nameAndRef(args []string) (name, ref string, err error) {
	if name, ref, err = vm.ParseRef(args[0]); err == nil && ref == "" {
		ref = refOf(name, args[1])
	}
	return name, ref, err
}

// refOf is what arg, "id" or "name@id", names of the VM name.
func refOf(name, arg string) string {
	if other, id, err := vm.ParseRef(arg); err == nil && id != "" && other == name {
		return id
	}
	return arg
}
