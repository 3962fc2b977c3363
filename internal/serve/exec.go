package serve

import (
	"context"
	"encoding/base64"
	"io"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// defaultOutput is how many bytes of each stream of a command an answer has.
const defaultOutput = 64 << 10

// CommandRequest is a command.
type CommandRequest struct {
	api.CommandSpec
	InputBase64 []byte `json:"input_base64,omitempty" jsonschema:"instead of input: bytes, in base64"`
	MaxOutput   int    `json:"max_output,omitempty" min:"0" max:"1048576" jsonschema:"bytes of each of stdout and stderr that the answer has, 65536 if 0: as many of its beginning as of its end"`
}

// ExecRequest is a command in a VM.
type ExecRequest struct {
	inVM
	CommandRequest
	At     string `json:"at,omitempty" max:"300" jsonschema:"in a throw-away clone of the VM: as its checkpoint of this id or label has it, or now"`
	Detach bool   `json:"detach,omitempty" jsonschema:"answer when it has begun, with the id of its job"`
	Turn   string `json:"turn,omitempty" max:"200" jsonschema:"an id that commands have which belong together: with auto exec they have one checkpoint"`
}

// TryRequest is a command that is taken back if it fails.
type TryRequest struct {
	inVM
	CommandRequest
	Always bool `json:"always,omitempty" jsonschema:"go back even when it succeeds"`
}

// RunRequest is a command in a VM that is made for it.
type RunRequest struct {
	CommandRequest
	Image      string `json:"image,omitempty" max:"1000" jsonschema:"a container image; empty for the user's default"`
	Checkpoint string `json:"checkpoint,omitempty" max:"400" jsonschema:"instead of an image: NAME@ID, of which the VM is a clone"`
	CPUs       int    `json:"cpus,omitempty" min:"0" max:"64"`
	MemMiB     int    `json:"mem_mib,omitempty" min:"0" max:"1048576"`
	NetSpec
}

// ExecResult is how a command ended.
type ExecResult struct {
	ExitCode       int    `json:"exit_code" jsonschema:"128+N for signal N, 127 not found, 126 not executable"`
	Signal         string `json:"signal,omitempty" jsonschema:"that ended it, such as SIGKILL"`
	TimedOut       bool   `json:"timed_out,omitempty"`
	Error          string `json:"error,omitempty" jsonschema:"why it could not run"`
	Stdout         string `json:"stdout"`
	StdoutEncoding string `json:"stdout_encoding" enum:"utf-8,base64" jsonschema:"base64 where it is no UTF-8"`
	StdoutCut      *Cut   `json:"stdout_cut,omitempty"`
	Stderr         string `json:"stderr"`
	StderrEncoding string `json:"stderr_encoding" enum:"utf-8,base64"`
	StderrCut      *Cut   `json:"stderr_cut,omitempty"`
	Job            string `json:"job,omitempty" jsonschema:"the id of one that was detached"`
	WentBack       bool   `json:"went_back,omitempty" jsonschema:"the VM is as it was before the command"`
	Before         string `json:"before,omitempty" jsonschema:"the checkpoint of what was there before"`
}

// Cut is where bytes of a stream are left out.
type Cut struct {
	At    int   `json:"at" jsonschema:"where they were, in bytes from the beginning"`
	Bytes int64 `json:"bytes"`
}

func (s *server) addExec() {
	const tag, events = "Commands", "progress, warning, and output: the pieces of stdout and stderr as they come"
	add(s, op{method: "POST", path: "/vms/{vm}/exec", id: "exec", tag: tag, summary: "Run a command", long: true, events: events,
		about:   "When the client goes, the command is hung up, as by ssh. The beginning and the end of long output is kept.",
		example: `{"argv":["uname","-a"]}`}, s.exec)
	add(s, op{method: "POST", path: "/vms/{vm}/try", id: "try", tag: tag, summary: "Run a command, and put the VM back, memory and disk, if it fails", long: true, events: events,
		example: `{"command":"apt-get install -y nginx","timeout_s":600}`}, s.try)
	add(s, op{method: "POST", path: "/run", id: "run", tag: tag, summary: "Run a command in a new VM, which is destroyed afterwards", long: true, events: events,
		example: `{"image":"python:3.13","argv":["python","-c","print(1)"]}`}, s.run)
}

// running is a command that runs.
type running struct {
	out, err api.Output
	command  vm.Command
	streams  vm.Streams
	pieces   []*pieces
	max      int
}

// command prepares in's command for c.
func (c *call) command(in CommandRequest) (*running, error) {
	r := &running{max: in.MaxOutput}
	if r.max == 0 {
		r.max = defaultOutput
	}
	r.out.Keep, r.err.Keep = max(r.max/2, 1), max(r.max/2, 1)
	if len(in.InputBase64) > 0 && in.Input != "" {
		return nil, errs.New(errs.ErrUsage, "input and input_base64 are one too many").Hint("give one of them")
	}
	if len(in.InputBase64) > 0 {
		in.Input = string(in.InputBase64)
	}
	var err error
	if r.command, r.streams.In, err = in.Parse(); err != nil {
		return nil, err
	}
	r.streams.Out, r.streams.Err = &r.out, &r.err
	if c.events != nil {
		r.pieces = []*pieces{{e: c.events, stream: "stdout"}, {e: c.events, stream: "stderr"}}
		r.streams.Out, r.streams.Err = io.MultiWriter(&r.out, r.pieces[0]), io.MultiWriter(&r.err, r.pieces[1])
	}
	return r, nil
}

// result is how the command ended.
func (r *running) result(exit vm.Exit) ExecResult {
	for _, p := range r.pieces {
		p.flush()
	}
	o := ExecResult{ExitCode: exit.Code, TimedOut: exit.TimedOut, Error: exit.Error, Job: untrusted.Line(exit.Job, 100)}
	if exit.Signal != 0 {
		o.Signal = unix.SignalName(unix.Signal(exit.Signal))
	}
	o.Stdout, o.StdoutEncoding, o.StdoutCut = text(&r.out, r.max)
	o.Stderr, o.StderrEncoding, o.StderrCut = text(&r.err, r.max)
	return o
}

// text is what is kept of a stream, max bytes of it at most.
func text(o *api.Output, max int) (text, encoding string, cut *Cut) {
	head, tail, lost := o.Parts()
	if all := len(head) + len(tail); lost > 0 || all > max {
		keep := max - len(head)
		lost += int64(len(tail) - min(keep, len(tail)))
		tail = tail[len(tail)-min(keep, len(tail)):]
		before := len(head) + len(tail)
		if h, t := api.TrimHalves(head, true), api.TrimHalves(tail, false); utf8.Valid(h) && utf8.Valid(t) {
			head, tail = h, t
		}
		cut = &Cut{len(head), lost + int64(before-len(head)-len(tail))}
	}
	all := append(head, tail...)
	if utf8.Valid(all) {
		return string(all), "utf-8", cut
	}
	return base64.StdEncoding.EncodeToString(all), "base64", cut
}

// Piece is a piece of output, in the event output: text, or bytes where it is no UTF-8.
type Piece struct {
	Stream string `json:"stream" enum:"stdout,stderr"`
	Text   string `json:"text,omitempty"`
	Base64 []byte `json:"base64,omitempty"`
}

// pieces sends what is written to it as events.
type pieces struct {
	mu     sync.Mutex
	e      *events
	stream string
	half   []byte // of a character
}

// Write implements io.Writer.
func (p *pieces) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := append(p.half, b...)
	half := api.Half(all)
	p.half = append([]byte{}, all[len(all)-half:]...)
	return len(b), p.send(all[:len(all)-half])
}

func (p *pieces) send(b []byte) error {
	switch {
	case len(b) == 0:
		return nil
	case utf8.Valid(b):
		return p.e.send("output", Piece{Stream: p.stream, Text: string(b)})
	}
	return p.e.send("output", Piece{Stream: p.stream, Base64: b})
}

// flush sends the half of a character that no other half has followed.
func (p *pieces) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send(p.half)
	p.half = nil
}

func (s *server) exec(ctx context.Context, c *call, in ExecRequest) (ExecResult, error) {
	r, err := c.command(in.CommandRequest)
	if err != nil {
		return ExecResult{}, err
	}
	r.command.Turn, r.command.Detach = in.Turn, in.Detach
	defer s.metrics.running()()
	var exit vm.Exit
	if in.At != "" {
		exit, err = c.m.ExecAt(ctx, in.VM, in.At, r.command, r.streams)
	} else {
		exit, err = c.m.Exec(ctx, in.VM, r.command, r.streams)
	}
	return r.result(exit), err
}

func (s *server) try(ctx context.Context, c *call, in TryRequest) (ExecResult, error) {
	r, err := c.command(in.CommandRequest)
	if err != nil {
		return ExecResult{}, err
	}
	defer s.metrics.running()()
	t, err := c.m.Try(ctx, in.VM, r.command, r.streams, vm.TryOptions{Always: in.Always})
	o := r.result(t.Exit)
	o.WentBack, o.Before = t.Back, t.Before
	return o, err
}

func (s *server) run(ctx context.Context, c *call, in RunRequest) (ExecResult, error) {
	r, err := c.command(in.CommandRequest)
	if err != nil {
		return ExecResult{}, err
	}
	o := vm.RunOptions{Remove: true}
	if o.Net, err = in.NetSpec.options(); err != nil {
		return ExecResult{}, err
	}
	if in.Checkpoint != "" {
		if in.Image != "" {
			return ExecResult{}, errs.New(errs.ErrUsage, "image and checkpoint are one too many").Hint("give one of them")
		}
		if o.VM, o.Checkpoint, err = vm.ParseRef(in.Checkpoint); err == nil && o.Checkpoint == "" {
			err = errs.New(errs.ErrUsage, "checkpoint: %.100q is not NAME@ID", in.Checkpoint)
		}
	} else {
		o.Driver, o.CPUs, o.MemMiB = s.o.Driver, in.CPUs, in.MemMiB
		o.Image, o.Base, err = s.image(ctx, c, in.Image)
	}
	if err != nil {
		return ExecResult{}, err
	}
	defer s.metrics.running()()
	_, exit, err := c.m.Run(ctx, o, r.command, r.streams)
	return r.result(exit), err
}
