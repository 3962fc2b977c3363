package mcp

import (
	"context"
	"fmt"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/vm"
)

// commandIn is a command.
type commandIn struct {
	api.CommandSpec
	MaxOutput int `json:"max_output,omitempty" jsonschema:"bytes of each of stdout and stderr to return, 16384 if 0; the beginning and the end are kept, and read_output returns the rest"`
}

type execIn struct {
	VM string `json:"vm" jsonschema:"the VM, or NAME@ID or NAME@now for a throw-away copy"`
	commandIn
	Turn string `json:"turn,omitempty" jsonschema:"an id of your turn: with auto exec its commands have one checkpoint together"`
}

type tryIn struct {
	vmIn
	commandIn
	Always bool `json:"always,omitempty" jsonschema:"go back even when the command succeeds"`
}

type runIn struct {
	Image string `json:"image" jsonschema:"a container image, or the checkpoint NAME@ID"`
	commandIn
	CPUs   int    `json:"cpus,omitempty"`
	MemMiB int    `json:"mem_mib,omitempty"`
	Net    string `json:"net,omitempty" jsonschema:"none, default or a profile that the user has made"`
}

// execOut is how a command ended.
type execOut struct {
	ExitCode int    `json:"exit_code" jsonschema:"128+N for signal N, 127 not found"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
	// The same, for programs that want each byte.
	StdoutBase64 string `json:"stdout_base64,omitempty" jsonschema:"stdout, where it is not UTF-8 and not cut: read_output has the parts of what is cut"`
	StderrBase64 string `json:"stderr_base64,omitempty"`
	TimedOut     bool   `json:"timed_out,omitempty"`
	Error        string `json:"error,omitempty" jsonschema:"why it could not run"`
	Output       string `json:"output,omitempty" jsonschema:"where there is more: its id for read_output; also the resources noid://output/ID/stdout and stderr"`
	WentBack     bool   `json:"went_back,omitempty" jsonschema:"the VM is as it was before the command"`
	Before       string `json:"before,omitempty" jsonschema:"the checkpoint of what was there before"`
}

func (o execOut) content() []sdk.Content {
	var b strings.Builder
	fmt.Fprintf(&b, "exit code %d", o.ExitCode)
	for _, more := range []struct {
		is   bool
		text string
	}{{o.StdoutBase64 != "", ", stdout is not UTF-8"}, {o.StderrBase64 != "", ", stderr is not UTF-8"},
		{o.TimedOut, ", timed out"}, {o.Error != "", ", " + o.Error}, {o.WentBack, ", the vm went back to " + o.Before}, {o.Output != "", ", more with read_output " + o.Output}} {
		if more.is {
			b.WriteString(more.text)
		}
	}
	b.WriteByte('\n')
	b.WriteString(o.Stdout)
	if o.Stderr != "" {
		if o.Stdout != "" && !strings.HasSuffix(o.Stdout, "\n") {
			b.WriteByte('\n')
		}
		b.WriteString("stderr:\n" + o.Stderr)
	}
	return []sdk.Content{&sdk.TextContent{Text: b.String()}}
}

func (s *server) addExec() {
	add(s, "exec", "Run a command", changes, "Run a command in a VM. Its output is cut in the middle when it is long.", s.exec)
	add(s, "try", "Try a command", changes, "Run a command in a VM; if it fails, the VM is put back, memory and disk, to where it was before.", s.try)
	add(s, "run", "Run a command in a new VM", adds, "Run a command in a new VM of an image or a checkpoint, which is destroyed afterwards.", s.run)
	add(s, "read_output", "Read a command's output", reads, "Read from the output of an earlier command, of which noid keeps the last 32.", s.readOutput)
	s.addOutputs()
}

// command is c's command, with its output kept.
func (c commandIn) command() (vm.Command, vm.Streams, *output, error) {
	command, input, err := c.Parse()
	if err = errs.Join(err, notNegative("max_output", c.MaxOutput)); err != nil {
		return vm.Command{}, vm.Streams{}, nil, err
	}
	out := newOutput()
	return command, vm.Streams{In: input, Out: &out.stdout, Err: &out.stderr}, out, nil
}

// ended is how the command ended whose output out is.
func (s *server) ended(exit vm.Exit, out *output, max int) execOut {
	o := execOut{ExitCode: exit.Code, TimedOut: exit.TimedOut, Error: exit.Error}
	if max <= 0 {
		max = defaultOutput
	}
	var cutOut, cutErr bool
	o.Stdout, o.StdoutBase64, cutOut = short(&out.stdout, max)
	o.Stderr, o.StderrBase64, cutErr = short(&out.stderr, max)
	if cutOut || cutErr {
		o.Output = s.outputs.keep(out)
	}
	return o
}

// watchOutput tells the client how much a command has written.
func (c call) watchOutput(ctx context.Context, out *output) (stop func()) {
	return c.watch(ctx, func() (float64, float64, string) {
		return float64(out.stdout.Total() + out.stderr.Total()), 0, "bytes of output"
	})
}

func (s *server) exec(ctx context.Context, c call, in execIn) (execOut, error) {
	name, ref, err := vm.ParseRef(in.VM)
	if err != nil {
		return execOut{}, err
	}
	command, streams, out, err := in.command()
	if err != nil {
		return execOut{}, err
	}
	command.Turn = in.Turn
	defer c.watchOutput(ctx, out)()
	var exit vm.Exit
	if ref != "" {
		exit, err = c.m.ExecAt(ctx, name, ref, command, streams)
	} else {
		exit, err = c.m.Exec(ctx, name, command, streams)
	}
	return s.ended(exit, out, in.MaxOutput), err
}

func (s *server) try(ctx context.Context, c call, in tryIn) (execOut, error) {
	command, streams, out, err := in.command()
	if err != nil {
		return execOut{}, err
	}
	defer c.watchOutput(ctx, out)()
	t, err := c.m.Try(ctx, in.VM, command, streams, vm.TryOptions{Always: in.Always})
	o := s.ended(t.Exit, out, in.MaxOutput)
	o.WentBack, o.Before = t.Back, t.Before
	return o, err
}

func (s *server) run(ctx context.Context, c call, in runIn) (execOut, error) {
	command, streams, out, err := in.command()
	if err == nil {
		err = api.CheckNet(in.Net)
	}
	if err != nil {
		return execOut{}, err
	}
	o := vm.RunOptions{Remove: true}
	if vm.IsCheckpoint(in.Image) {
		o.VM, o.Checkpoint, err = vm.ParseRef(in.Image)
	} else {
		o.Driver, o.CPUs, o.MemMiB, o.Net.Network = s.o.Driver, in.CPUs, in.MemMiB, in.Net
		o.Image, o.Base, err = s.image(ctx, c, in.Image)
	}
	if err != nil {
		return execOut{}, err
	}
	defer c.watchOutput(ctx, out)()
	_, exit, err := c.m.Run(ctx, o, command, streams)
	return s.ended(exit, out, in.MaxOutput), err
}
