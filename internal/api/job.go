package api

import (
	"fmt"
	"time"

	"noid/internal/untrusted"
	"noid/internal/vm"
)

// maxCell bounds a text of a guest, in characters.
const maxCell = 512

// Job is a command that noid runs in a guest.
type Job struct {
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

// JobOf is j.
func JobOf(j vm.Job) Job {
	text := func(s string) string { return untrusted.Line(s, maxCell) }
	out := Job{ID: text(j.ID), PID: j.PID, User: text(j.User), Started: Time(time.Unix(j.Started, 0)), TTY: j.TTY, Attached: j.Attached,
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
