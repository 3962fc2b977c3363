package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// jobJSON is a job in ps --json.
type jobJSON struct {
	ID       string `json:"id"`
	PID      int    `json:"pid"`
	User     string `json:"user"`
	Started  string `json:"started_at"`
	State    string `json:"state"`
	ExitCode *int   `json:"exit_code,omitempty"`
	TTY      bool   `json:"tty"`
	Attached bool   `json:"attached"`
	Detached bool   `json:"detached"`
	Command  string `json:"command"`
}

func toJobJSON(j vm.Job) jobJSON {
	text := func(s string) string { return untrusted.Line(s, maxCell) }
	out := jobJSON{ID: text(j.ID), PID: j.PID, User: text(j.User), Started: api.Time(time.Unix(j.Started, 0)), TTY: j.TTY, Attached: j.Attached,
		Detached: j.Detached, Command: text(j.Command)}
	switch {
	case j.Exit != nil:
		out.State, out.ExitCode = fmt.Sprintf("exited %d", j.Exit.Code), &j.Exit.Code
	case j.Attached || j.Detached && !j.Orphaned:
		out.State = "running"
	default:
		out.State = "orphaned"
	}
	return out
}

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
			list, rows := make([]jobJSON, 0, len(jobs)), [][]string{}
			for _, job := range jobs {
				j := toJobJSON(job)
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
