package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/api"
	"noid/internal/vm"
)

func (a *app) commitCmd() *cobra.Command {
	var o vm.CommitOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use: "commit NAME[@ID] NEW", Short: "Make an image of a VM or a checkpoint",
		Long: `Make an image of a VM, running or not, or of a checkpoint: the layers of its image, and what has changed as one more. Name it NEW
and print its digest. A VM of a root file system, or one made with --flat, becomes an image of one layer.

It is of one moment: a running VM stands still as for 'noid checkpoint'. A clone of it, which is gone afterwards, then reads what
has changed. What is mounted in the guest is not in the image, as /proc, a tmpfs, or the directories of container engines in
/var/lib; nor are /etc/hostname and /etc/machine-id, which each VM gets anew, and the authority of noid's for secrets.

--change takes a line of a Dockerfile: CMD, ENTRYPOINT, ENV, USER or WORKDIR.
`,
		Example: "  noid commit dev mine:1\n  noid commit dev@before-upgrade mine:old\n  noid commit -c 'CMD [\"python\", \"app.py\"]' -c 'ENV PORT=80' dev mine:2",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			name, ref, err := vm.ParseRef(args[0])
			if err != nil {
				return err
			}
			o.Checkpoint, o.Image = ref, args[1]
			p := newProgress(a.err, !a.quiet && term.IsTerminal(int(os.Stderr.Fd())))
			o.Count = p.add
			img, err := m.Commit(ctx, name, o)
			p.stop()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, api.ImageOf(img))
			}
			fmt.Fprintln(a.out, img.Digest)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&o.Message, "message", "m", "", "what has changed, for people: 'docker history' shows it")
	f.StringArrayVarP(&o.Changes, "change", "c", nil, "apply a `LINE` of a Dockerfile to the image")
	durationVar(f, &o.Wait, "wait-timeout", createWait, "how long to wait for the clone's guest to be up")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
