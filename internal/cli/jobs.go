package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/link/wire"
	"noid/internal/untrusted"
)

// shortID is how many digits of a job's id people see.
const shortID = 8

// answerTime bounds ps and kill, which a checkpoint may hold up.
const answerTime = 30 * time.Second

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

func toJobJSON(j wire.Job) jobJSON {
	text := func(s string) string { return untrusted.Line(s, maxCell) }
	out := jobJSON{ID: text(j.ID), PID: j.PID, User: text(j.User), Started: utc(time.Unix(j.Started, 0)), TTY: j.TTY, Attached: j.Attached,
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
		Use: "ps NAME", Short: "List the commands that noid runs in the guest, and those started with -d that ended", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.agent(cmd.Context(), args[0], "ps")
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), answerTime, link.ErrNoAnswer)
			defer cancel()
			jobs, err := c.Jobs(ctx)
			if err != nil {
				return a.unanswered(ctx, args[0], "ps", err)
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
			table(a.out, []string{"id", "pid", "user", "started", "state", "command"}, rows)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) killCmd() *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use: "kill NAME ID", Short: "Send a signal to a command in the guest, to all of its process group", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := signalNumber(signal)
			if err != nil {
				return err
			}
			c, err := a.agent(cmd.Context(), args[0], "kill")
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), answerTime, link.ErrNoAnswer)
			defer cancel()
			if err := c.Kill(ctx, strings.ToLower(args[1]), n); err != nil {
				err = a.unanswered(ctx, args[0], "kill", err)
				if errors.Is(err, errs.ErrNotFound) {
					err = errs.WithHint(err, "'noid ps "+args[0]+"' lists them")
				}
				return err
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "TERM", "`signal`, by name or number")
	return cmd
}

// signalNumber reads a signal as kill(1) does: TERM, SIGTERM, sigterm or 15.
func signalNumber(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > 64 {
			return 0, errs.New(errs.ErrUsage, "no signal %d: they go from 1 to 64", n)
		}
		return n, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return int(n), nil
	}
	var names []string
	for n := unix.Signal(1); n < 32; n++ {
		names = append(names, strings.TrimPrefix(unix.SignalName(n), "SIG"))
	}
	err := errs.New(errs.ErrUsage, "no signal %q", s)
	if near := config.Nearest(name, names); near != "" {
		return 0, errs.WithHint(err, "did you mean "+near+"?")
	}
	return 0, errs.WithHint(err, "'kill -l' lists them")
}

// agent returns a client for a VM that runs and has an agent.
func (a *app) agent(ctx context.Context, name, verb string) (*link.Client, error) {
	m, info, err := a.live(ctx, name, verb)
	if err != nil {
		return nil, err
	}
	if !hasAgent(info) {
		return nil, noAgent(verb, name, "a VM made without --no-agent has it")
	}
	return m.Agent(info)
}

// unanswered says what was asked of whom, and that time ran out where that is the reason.
func (a *app) unanswered(ctx context.Context, name, verb string, err error) error {
	err = fmt.Errorf("%s of vm %q: %w", verb, name, err)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = errs.WithHint(errs.Mark(err, errs.ErrTimeout), "'noid logs "+name+"' shows how far the guest is")
	}
	return err
}
