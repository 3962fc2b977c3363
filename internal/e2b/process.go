package e2b

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"time"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

const processService = "process.Process"

// processConfig is a command.
type processConfig struct {
	Cmd  string            `json:"cmd"`
	Args []string          `json:"args,omitempty"`
	Env  map[string]string `json:"envs,omitempty"`
	Cwd  string            `json:"cwd,omitempty"`
}

// pty is a terminal.
type pty struct {
	Size struct {
		Cols uint16 `json:"cols"`
		Rows uint16 `json:"rows"`
	} `json:"size"`
}

func (p *pty) size() *vm.Size { return &vm.Size{Cols: p.Size.Cols, Rows: p.Size.Rows} }

type startRequest struct {
	Process processConfig `json:"process"`
	PTY     *pty          `json:"pty"`
	Stdin   *bool         `json:"stdin"`
	Tag     string        `json:"tag"`
}

// selector names a process.
type selector struct {
	PID int    `json:"pid"`
	Tag string `json:"tag"`
}

type processInput struct {
	Stdin data `json:"stdin"`
	PTY   data `json:"pty"`
}

// toProcess is a request about a process: what else it has depends on the procedure.
type toProcess struct {
	Process selector        `json:"process"`
	Input   processInput    `json:"input"`
	PTY     *pty            `json:"pty"`
	Signal  json.RawMessage `json:"signal"`
}

// inputPiece is a message of StreamInput: one of its fields.
type inputPiece struct {
	Start *struct {
		Process selector `json:"process"`
	} `json:"start"`
	Data *struct {
		Input processInput `json:"input"`
	} `json:"data"`
}

// The events of a process.
type (
	event struct {
		Event any `json:"event"`
	}
	startEvent struct {
		Start struct {
			PID int `json:"pid"`
		} `json:"start"`
	}
	dataEvent struct {
		Data map[string][]byte `json:"data"` // stdout, stderr or pty
	}
	endEvent struct {
		End ending `json:"end"`
	}
	ending struct {
		ExitCode int    `json:"exitCode"`
		Exited   bool   `json:"exited"`
		Status   string `json:"status"`
		Error    string `json:"error,omitempty"`
	}
	keepalive struct {
		KeepAlive struct{} `json:"keepalive"`
	}
)

type processInfo struct {
	Config processConfig `json:"config"`
	PID    int           `json:"pid"`
}

type processList struct {
	Processes []processInfo `json:"processes"`
}

// empty is a message without fields.
type empty struct{}

func (h *Handler) addProcesses() {
	serverStream(h, processService, "Start", h.start)
	serverStream(h, processService, "Connect", h.reconnect)
	unary(h, processService, "List", h.processes)
	unary(h, processService, "SendInput", func(ctx context.Context, c *call, in toProcess) (empty, error) {
		return c.toJob(ctx, in.Process, vm.Input{Data: append(in.Input.Stdin, in.Input.PTY...)})
	})
	unary(h, processService, "CloseStdin", func(ctx context.Context, c *call, in toProcess) (empty, error) {
		return c.toJob(ctx, in.Process, vm.Input{EOF: true})
	})
	unary(h, processService, "Update", func(ctx context.Context, c *call, in toProcess) (empty, error) {
		if in.PTY == nil {
			return empty{}, errs.New(errs.ErrUsage, "an update without a terminal's size")
		}
		return c.toJob(ctx, in.Process, vm.Input{Size: in.PTY.size()})
	})
	unary(h, processService, "SendSignal", h.signal)
	h.addStream(processService, "StreamInput", h.streamInput)
}

// start starts a command, and sends what it writes. It runs on without its client, until its own timeout.
func (h *Handler) start(ctx context.Context, c *call, in startRequest, out *stream) error {
	if in.Tag != "" {
		return unserved("tags of commands")
	}
	dir, err := c.path(ctx, in.Process.Cwd)
	if err != nil {
		return err
	}
	spec := api.CommandSpec{Argv: append([]string{in.Process.Cmd}, in.Process.Args...), Dir: dir, User: c.user, Env: map[string]string{}}
	for _, env := range []map[string]string{c.env(), in.Process.Env} {
		maps.Copy(spec.Env, env)
	}
	command, _, err := spec.Parse()
	if err != nil {
		return err
	}
	command.Detach, command.Await, command.Timeout = true, true, c.timeout
	command.Stdin = in.Stdin == nil || *in.Stdin
	if in.PTY != nil {
		command.TTY, command.Stdin, command.Size, command.Term = true, true, in.PTY.size(), "xterm-256color"
	}
	exit, err := c.m.Exec(ctx, c.id, command, vm.Streams{})
	if err == nil && exit.Code == codeNotFound && in.Process.Cmd == "/bin/bash" { // which the client runs all by
		command.Argv[0] = "/bin/sh"
		exit, err = c.m.Exec(ctx, c.id, command, vm.Streams{})
	}
	switch {
	case err != nil:
		return err
	case exit.Job == "":
		return errs.New(errs.ErrUsage, "%s", untrusted.Line(exit.Error, 300))
	}
	pid := exit.PID
	if pid <= 0 { // an older agent
		jobs, err := c.m.Jobs(ctx, c.id)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if j.ID == exit.Job {
				pid = j.PID
			}
		}
	}
	return h.follow(ctx, c, exit.Job, pid, in.PTY != nil, out)
}

// codeNotFound is the exit code of a command that is not there.
const codeNotFound = 127

// reconnect goes on with a command that was started before.
func (h *Handler) reconnect(ctx context.Context, c *call, in toProcess, out *stream) error {
	job, err := c.job(ctx, in.Process, true)
	if err != nil {
		return err
	}
	return h.follow(ctx, c, job.ID, job.PID, job.TTY, out)
}

// Between two looks whether the client before has left a command, how many there are, and how often a client may ask for
// a sign of life.
const (
	leaveEvery   = 100 * time.Millisecond
	leaveTries   = 20
	minKeepAlive = time.Second
)

// follow sends what a job writes, and how it ends.
func (h *Handler) follow(ctx context.Context, c *call, job string, pid int, tty bool, out *stream) error {
	if h.o.Running != nil {
		defer h.o.Running()()
	}
	var first startEvent
	first.Start.PID = pid
	if err := out.send(event{first}); err != nil {
		return err
	}
	if seconds, _ := strconv.Atoi(c.r.Header.Get("Keepalive-Ping-Interval")); seconds > 0 && seconds <= maxTimeout {
		tick := time.NewTicker(max(time.Duration(seconds)*time.Second, minKeepAlive))
		ended, gone := make(chan struct{}), make(chan struct{})
		defer func() { tick.Stop(); close(ended); <-gone }()
		go func() {
			defer close(gone)
			for {
				select {
				case <-tick.C:
					out.send(event{keepalive{}})
				case <-ended:
					return
				}
			}
		}()
	}
	name := "stdout"
	if tty {
		name = "pty"
	}
	streams := vm.Streams{Out: output{out, name}, Err: output{out, "stderr"}}
	exit, err := c.m.Attach(ctx, c.id, job, streams)
	for tries := 0; errors.Is(err, errs.ErrBusy) && tries < leaveTries && ctx.Err() == nil; tries++ {
		time.Sleep(leaveEvery)
		exit, err = c.m.Attach(ctx, c.id, job, streams)
	}
	switch {
	case errors.Is(err, errs.ErrBusy):
		return faultf("failed_precondition", "another client reads what the process %d writes: let it disconnect first", pid)
	case err != nil:
		return c.orGone(ctx, err)
	}
	return out.send(event{endEvent{endingOf(exit)}})
}

// orGone is err, or that the sandbox does not run any more.
func (c *call) orGone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if i, lost := c.m.Info(ctx, c.id); lost != nil || i.State != vm.Running {
		return fault{"unavailable", gone(c.id, "it has ended")}
	}
	return err
}

// endingOf is how a command ended, as envd has it: of a signal the exit code is -1.
func endingOf(e vm.Exit) ending {
	if e.Signal == 0 {
		return ending{ExitCode: e.Code, Exited: true, Status: "exit status " + strconv.Itoa(e.Code), Error: untrusted.Line(e.Error, 300)}
	}
	status := "signal: " + syscall.Signal(e.Signal).String()
	return ending{ExitCode: -1, Status: status, Error: status}
}

// output sends what is written to it as events.
type output struct {
	out  *stream
	name string
}

// Write implements io.Writer.
func (o output) Write(b []byte) (int, error) {
	return len(b), o.out.send(event{dataEvent{map[string][]byte{o.name: b}}})
}

func (h *Handler) processes(ctx context.Context, c *call, _ empty) (processList, error) {
	jobs, err := c.m.Jobs(ctx, c.id)
	list := processList{[]processInfo{}}
	for _, j := range jobs {
		if j.Exit == nil && j.Detached {
			list.Processes = append(list.Processes, processInfo{configOf(untrusted.Line(j.Command, 512)), j.PID})
		}
	}
	return list, err
}

// shell is how the client runs a line.
const shell = " -l -c "

// configOf is what is known of a job's command: its words, shortened.
func configOf(command string) processConfig {
	cmd, line, found := strings.Cut(command, shell)
	if found && !strings.Contains(cmd, " ") {
		return processConfig{Cmd: cmd, Args: []string{"-l", "-c", line}}
	}
	words := strings.Split(command, " ")
	return processConfig{Cmd: words[0], Args: words[1:]}
}

// job finds the job of a process: one that runs, or with ended, the last that did.
func (c *call) job(ctx context.Context, s selector, ended bool) (found vm.Job, err error) {
	if s.Tag != "" {
		return found, unserved("tags of commands")
	}
	jobs, err := c.m.Jobs(ctx, c.id)
	if err != nil {
		return found, err
	}
	for _, j := range jobs {
		if s.PID > 0 && j.PID == s.PID && j.Detached && (j.Exit == nil || ended) && (found.ID == "" || found.Exit != nil) {
			found = j
		}
	}
	if found.ID == "" {
		return found, errs.New(errs.ErrNotFound, "no command with the process %d runs in the sandbox %q", s.PID, c.id)
	}
	return found, nil
}

// toJob gives a process input.
func (c *call) toJob(ctx context.Context, s selector, in vm.Input) (empty, error) {
	job, err := c.job(ctx, s, false)
	if err == nil {
		err = c.m.Input(ctx, c.id, job.ID, in)
	}
	return empty{}, err
}

// signals are those that E2B has, by name and number.
var signals = map[string]syscall.Signal{`"SIGNAL_SIGTERM"`: syscall.SIGTERM, "15": syscall.SIGTERM, `"SIGNAL_SIGKILL"`: syscall.SIGKILL, "9": syscall.SIGKILL}

func (h *Handler) signal(ctx context.Context, c *call, in toProcess) (empty, error) {
	sig, known := signals[string(in.Signal)]
	if !known {
		return empty{}, errs.New(errs.ErrUsage, "signal: %.40s is neither SIGTERM nor SIGKILL", in.Signal)
	}
	job, err := c.job(ctx, in.Process, false)
	if err == nil {
		err = c.m.Signal(ctx, c.id, job.ID, int(sig))
	}
	return empty{}, err
}

// streamInput gives a process the input that a client sends bit by bit.
func (h *Handler) streamInput(ctx context.Context, c *call, in *messages, out *stream) error {
	if c.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.timeout)
		defer stop()
		defer out.readWhile(ctx)()
	}
	job := ""
	for {
		var p inputPiece
		err := in.next(ctx, &p)
		switch {
		case err == io.EOF && job != "":
			return out.send(empty{})
		case err == io.EOF:
			return errs.New(errs.ErrUsage, "input for no process")
		case err != nil:
			return err
		case p.Start != nil:
			found, err := c.job(ctx, p.Start.Process, false)
			if err != nil {
				return err
			}
			job = found.ID
		case p.Data != nil && job == "":
			return errs.New(errs.ErrUsage, "input before the message that names its process")
		case p.Data != nil:
			if err := c.m.Input(ctx, c.id, job, vm.Input{Data: append(p.Data.Input.Stdin, p.Data.Input.PTY...)}); err != nil {
				return err
			}
		}
	}
}
