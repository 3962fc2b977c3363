package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/vm"
)

func (a *app) psCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "ps NAME", Short: "List the commands that noid runs in the guest",
		Long:    "List the commands that noid runs in the guest. Commands started with 'noid exec -d' stay listed when they have ended.\n",
		Example: "  noid ps dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			jobs, err := m.Jobs(ctx, args[0])
			if err != nil {
				return err
			}
			list, rows := make([]api.Job, 0, len(jobs)), [][]string{}
			for _, job := range jobs {
				j := api.JobOf(job)
				list = append(list, j)
				rows = append(rows, []string{j.ID[:min(len(j.ID), shortID)], strconv.Itoa(j.PID), j.User, local(time.Unix(job.Started, 0)), j.State, j.Command})
			}
			if asJSON {
				return printJSON(a.out, list)
			}
			if a.quiet {
				a.printColumn(rows)
				return nil
			}
			table(a.out, []string{"id", "pid", "user", "started", "state", "command"}, rows)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.quietColumn(cmd, "ids")
	return cmd
}
