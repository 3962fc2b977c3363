// Package mcp gives noid's verbs to programs that speak the Model Context Protocol, such as coding agents
// (https://modelcontextprotocol.io/specification). It is a front end over package vm, as the command line is: one file a
// group of tools.
package mcp

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"noid/internal/errs"
	"noid/internal/vm"
)

// Options say what Serve serves.
type Options struct {
	// Open opens the home for one call of the tool verb. The call closes the manager.
	Open    func(ctx context.Context, verb string) (*vm.Manager, error)
	Version string // noid's own
	Driver  string // of new VMs; "" for the best that works here
	// Files is the directory on this machine that copy_in and copy_out may use. Without it there are no such tools.
	Files string
}

// instructions tell a model what noid is for.
const instructions = `noid runs microVMs on this machine. Work in a VM: create one, exec commands in it. Everything can be taken back: checkpoint keeps memory and disk, undo and restore go back, fork makes running copies, explore runs variants side by side, diff shows what changed. A VM is named by "vm"; "NAME@ID" is a checkpoint of it, and "NAME@now" a copy of it as it is.`

// Serve serves one client, which writes to in and reads out, until it closes in or ctx ends.
func Serve(ctx context.Context, o Options, in io.ReadCloser, out io.WriteCloser) error {
	s := &server{o: o, sdk: sdk.NewServer(&sdk.Implementation{Name: "noid", Title: "noid: microVMs with undo", Version: o.Version},
		&sdk.ServerOptions{Instructions: instructions, Capabilities: &sdk.ServerCapabilities{}})}
	s.addLife()
	s.addExec()
	s.addFiles()
	s.addTime()
	s.addExplore()
	s.ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	lines := newLines(in, out)
	ended := make(chan error, 1)
	go func() { ended <- s.sdk.Run(context.WithoutCancel(ctx), &sdk.IOTransport{Reader: lines, Writer: lines}) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.cancel() // whoever has called is gone
	s.calls.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

type server struct {
	ctx     context.Context // all calls'
	cancel  context.CancelFunc
	calls   sync.WaitGroup
	o       Options
	sdk     *sdk.Server
	outputs outputs
	copies  sync.Mutex // one at a time: what one makes on this machine must not change where another leads
}

// effect is what a client is told that a tool does, so that it knows what to ask its user about.
type effect int

const (
	reads   effect = iota // changes nothing
	adds                  // makes something new
	changes               // changes a VM, in a way that undo or restore can take back
	removes               // loses something
)

// call is one call of a tool.
type call struct {
	req *sdk.CallToolRequest
	m   *vm.Manager
}

// add adds a tool. Its arguments are In's fields, and its result Out's.
func add[In, Out any](s *server, name, title string, does effect, description string, run func(context.Context, call, In) (Out, error)) {
	lost, outside := does == removes, name == "exec" || name == "run"
	t := &sdk.Tool{Name: name, Description: description, Annotations: &sdk.ToolAnnotations{Title: title, ReadOnlyHint: does == reads,
		DestructiveHint: &lost, IdempotentHint: does == reads, OpenWorldHint: &outside}}
	sdk.AddTool(s.sdk, t, func(ctx context.Context, req *sdk.CallToolRequest, in In) (*sdk.CallToolResult, Out, error) {
		s.calls.Add(1)
		defer s.calls.Done()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		var out Out
		m, err := s.o.Open(ctx, name)
		if err == nil {
			defer m.Close()
			out, err = run(ctx, call{req, m}, in)
		}
		if err != nil {
			return nil, out, explained(err)
		}
		if o, ok := any(out).(interface{ content() []sdk.Content }); ok {
			return &sdk.CallToolResult{Content: o.content()}, out, nil
		}
		return nil, out, nil
	})
}

// explained is err with its cure, as a model reads it.
func explained(err error) error {
	text := err.Error()
	if hint := errs.Hint(err); hint != "" {
		text += "\n" + forTools(hint)
	}
	return errors.New(text)
}

// notNegative refuses a number below 0.
func notNegative(name string, n int) error {
	if n < 0 {
		return errs.New(errs.ErrUsage, "%s: %d is less than 0", name, n)
	}
	return nil
}

// tell sends a client that wants to know how far the call is.
func (c call) tell(ctx context.Context, done, total float64, message string) {
	if token := c.req.Params.GetProgressToken(); token != nil {
		c.req.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: done, Total: total, Message: message})
	}
}

// tellEvery is how often a client hears how far something long is.
const tellEvery = time.Second

// watch tells the client how far something is until the returned function is called.
func (c call) watch(ctx context.Context, far func() (done, total float64, message string)) (stop func()) {
	if c.req.Params.GetProgressToken() == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var told sync.WaitGroup
	told.Go(func() {
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				done, total, message := far()
				c.tell(ctx, done, total, message)
			}
		}
	})
	return func() {
		cancel()
		told.Wait()
	}
}
