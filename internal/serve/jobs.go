package serve

import (
	"cmp"
	"context"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/vm"
)

// JobList is the commands that noid runs in a guest.
type JobList struct {
	VM   string    `json:"vm"`
	Jobs []api.Job `json:"jobs"`
}

// KillRequest is a signal for a job.
type KillRequest struct {
	inVM
	Job    string `json:"-" path:"job" pattern:"^[0-9a-f]{1,64}$" jsonschema:"its id, or the beginning of that"`
	Signal string `json:"signal,omitempty" pattern:"^[A-Za-z0-9]{1,12}$" jsonschema:"by name or number; TERM without it"`
}

// Killed is a job that got a signal.
type Killed struct {
	VM  string `json:"vm"`
	Job string `json:"job"`
}

// LogsRequest is which log is read.
type LogsRequest struct {
	inVM
	VMM    bool `json:"-" query:"vmm,omitempty" jsonschema:"the VMM's own, not the console's"`
	Last   int  `json:"-" query:"last,omitempty" min:"0" max:"1000000" jsonschema:"so many lines of its end; all if 0"`
	Follow bool `json:"-" query:"follow,omitempty" jsonschema:"go on as more is written"`
}

// NetLogRequest is how much of a network's log is read.
type NetLogRequest struct {
	inVM
	Last   int  `json:"-" query:"last,omitempty" min:"0" max:"1000000" jsonschema:"so many lines of its end; all if 0"`
	Follow bool `json:"-" query:"follow,omitempty" jsonschema:"go on as more is written"`
}

// UsageRequest is whose disk space is asked for.
type UsageRequest struct {
	VMs []string `json:"-" query:"vm,omitempty" max:"1000" jsonschema:"of these VMs and their checkpoints; without one, of all the home"`
}

// linesType is lines of JSON.
const linesType = "application/x-ndjson"

func (s *server) addJobs() {
	const tag = "Commands"
	add(s, op{method: "GET", path: "/vms/{vm}/jobs", id: "jobs", verb: "ps", tag: tag, summary: "List the commands that noid runs in a guest", reads: true}, func(ctx context.Context, c *call, in inVM) (JobList, error) {
		jobs, err := c.m.Jobs(ctx, in.VM)
		out := JobList{in.VM, []api.Job{}}
		for _, j := range jobs {
			out.Jobs = append(out.Jobs, api.JobOf(j))
		}
		return out, err
	})
	add(s, op{method: "POST", path: "/vms/{vm}/jobs/{job}/kill", id: "kill", tag: tag, summary: "Send a signal to a command and its process group", example: `{"signal":"INT"}`}, func(ctx context.Context, c *call, in KillRequest) (Killed, error) {
		n, err := signalNumber(in.Signal)
		if err == nil {
			err = c.m.Signal(ctx, in.VM, in.Job, n)
		}
		return Killed{in.VM, in.Job}, err
	})
	addRaw(s, op{method: "GET", path: "/vms/{vm}/logs", id: "logs", tag: tag, summary: "Read the log of the console, or of the VMM", reads: true, gives: bytesType,
		about: "As the guest wrote it: not fit for a terminal."}, func(ctx context.Context, c *call, in LogsRequest) error {
		return s.logText(ctx, c, in.VM, bytesType, in.Last, in.Follow, func(ctx context.Context, o vm.LogOptions, w io.Writer) error {
			o.VMM = in.VMM
			return c.m.Logs(ctx, in.VM, o, w)
		})
	})
	addRaw(s, op{method: "GET", path: "/vms/{vm}/net/log", id: "net_log", verb: "net", tag: "Network", summary: "Read what a VM was refused, and its uses of secrets", reads: true, gives: linesType,
		about: "Lines of JSON, as noid net log --json prints them."}, func(ctx context.Context, c *call, in NetLogRequest) error {
		return s.logText(ctx, c, in.VM, linesType, in.Last, in.Follow, func(ctx context.Context, o vm.LogOptions, w io.Writer) error { return c.m.NetLog(ctx, in.VM, o, w) })
	})
}

// logText sends a log. One that is followed is a stream, which the end of the server ends.
func (s *server) logText(ctx context.Context, c *call, name, kind string, last int, follow bool, read func(context.Context, vm.LogOptions, io.Writer) error) error {
	o := vm.LogOptions{Last: last, Follow: follow}
	if last == 0 {
		o.Last = -1
	}
	var w io.Writer = c.w
	if follow {
		end, err := s.streams.begin(ctx)
		if err != nil {
			return err
		}
		defer end()
		var stop context.CancelFunc
		if ctx, stop = s.untilClosing(ctx); ctx.Err() != nil {
			return errClosing
		}
		defer stop()
		if err := c.m.CheckExists(name); err != nil {
			return err
		}
		w = flushing{c.w}
	}
	c.w.Header().Set("Content-Type", kind)
	if follow { // there may be nothing to read for long
		w.Write(nil)
	}
	err := read(ctx, o, w)
	if follow && ctx.Err() != nil && c.r.Context().Err() == nil { // the server ends
		return nil
	}
	return err
}

// signalNumber is a signal by name, with or without SIG, or number.
func signalNumber(text string) (int, error) {
	text = strings.ToUpper(cmp.Or(text, "TERM"))
	n, err := strconv.Atoi(text)
	if err != nil {
		n = int(unix.SignalNum("SIG" + strings.TrimPrefix(text, "SIG")))
	}
	if n < 1 || n > 64 {
		return 0, errs.New(errs.ErrUsage, "signal: no signal %q", text)
	}
	return n, nil
}
