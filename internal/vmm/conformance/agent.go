package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"noid/internal/helper"
	"noid/internal/link"
	"noid/internal/link/wire"
	"noid/internal/network/space"
	"noid/internal/vmm"
)

// atOnce is how many connections are open at the same time.
const atOnce = 20

// helperArg is the first argument with which a test binary is started to be a VM's helper. See Helper.
const helperArg = "noid-conformance-helper"

// Helper is for a driver's TestMain, before anything else: where this process was started to be a VMM, or the helper of
// a VM of the suite, it is that, the helper for d until the VMM's end.
func Helper(d vmm.Driver) {
	space.Main()
	if len(os.Args) < 2 || os.Args[1] != helperArg {
		return
	}
	signal.Ignore(syscall.SIGINT) // of a terminal: the VMM's end is this one's
	err := helper.Run(context.Background(), d, os.Args[3:], func(ctx context.Context) error {
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		return d.Tell(ctx, dir, vmm.Resume)
	}, nil, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "the helper:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// help starts the helper of vm, whose VMM was just started.
func (vm *machine) help(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err == nil {
		err = helper.Start([]string{self, helperArg}, vm.h.Driver.Name(), vm.dir, vm.p)
	}
	if err != nil {
		t.Fatalf("starting the helper: %v", err)
	}
}

// agent returns a client of the guest's agent.
func (vm *machine) agent() *link.Client {
	return &link.Client{
		Dial:  func(ctx context.Context) (net.Conn, error) { return vm.h.Driver.Connect(ctx, vm.dir) },
		Alive: vm.p.Alive,
	}
}

// wantAgent waits for the agent's answer.
func (vm *machine) wantAgent(t *testing.T, when string) {
	t.Helper()
	if err := vm.agent().Wait(limit(t, stepLimit)); err != nil {
		t.Fatalf("the agent %s: %v", when, err)
	}
}

// testAgent reaches the agent of vm wherever connections are known to break or hang: after a pause with nothing
// between, after a snapshot on its source, in a clone and in a clone's clone.
func testAgent(t *testing.T, vm *machine) {
	vm.wantAgent(t, "after the boot")
	vm.wantMany(t)
	for range 2 {
		open := vm.open(t)
		vm.tell(t, vmm.Pause)
		vm.tell(t, vmm.Resume)
		vm.wantAgent(t, "after a pause")
		open.wantAnswerOrEnd(t, "a pause")
	}
	open := vm.open(t)
	vm.tell(t, vmm.Pause)
	checkpoint := vm.checkpoint(t)
	vm.tell(t, vmm.ResumeSaved)
	vm.wantAgent(t, "of the source after a snapshot")
	open.wantAnswerOrEnd(t, "a snapshot")
	clone := vm.load(t, checkpoint)
	clone.wantAgent(t, "of a clone")
	clone.tell(t, vmm.Pause)
	clone.tell(t, vmm.Resume)
	clone.wantAgent(t, "of a clone after a pause")
	clone.wantMany(t)
	clone.tell(t, vmm.Pause)
	second := clone.checkpoint(t)
	clone.tell(t, vmm.ResumeSaved)
	clone.wantAgent(t, "of a clone after a snapshot")
	vm.load(t, second).wantAgent(t, "of a clone's clone")
	vm.wantMany(t) // the clones are none of the source's business
}

// peer is a connection to an agent on which both Hellos were said.
type peer struct {
	net.Conn
	in *wire.Reader
}

// dial makes one, within ctx.
func (vm *machine) dial(ctx context.Context) (*peer, error) {
	conn, err := vm.h.Driver.Connect(ctx, vm.dir)
	if err != nil {
		return nil, err
	}
	p := &peer{conn, wire.NewReader(conn)}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	var hello wire.Hello
	if err := p.ask(wire.TypeHello, wire.Hello{Version: wire.Version, Min: wire.MinVersion}, wire.TypeHello, &hello); err != nil {
		conn.Close()
		return nil, fmt.Errorf("hello: %w", err)
	}
	if hello.Version != wire.Version {
		conn.Close()
		return nil, fmt.Errorf("the agent answered %+v", hello)
	}
	return p, nil
}

// open is dial for a test that ends if it fails.
func (vm *machine) open(t *testing.T) *peer {
	t.Helper()
	p, err := vm.dial(limit(t, stepLimit))
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// ask sends one message and reads the answer to it.
func (p *peer) ask(sent wire.Type, msg any, want wire.Type, answer any) error {
	b, err := wire.AppendMessage(nil, sent, msg)
	if err != nil {
		return err
	}
	if _, err := p.Write(b); err != nil {
		return err
	}
	frame, err := p.in.Read()
	if err != nil {
		return err
	}
	if frame.Type != want {
		return fmt.Errorf("a frame of type %d, not %d", frame.Type, want)
	}
	return frame.Decode(answer)
}

func (p *peer) ping() error {
	var reply wire.Reply
	if err := p.ask(wire.TypeRequest, wire.Request{Op: wire.OpPing}, wire.TypeReply, &reply); err != nil {
		return err
	}
	if reply.Error != "" {
		return fmt.Errorf("the agent refused a ping: %s", reply.Error)
	}
	return nil
}

// wantAnswerOrEnd checks what Connect says of a connection that was open before: it goes on, or it ends. It must
// neither hang nor bring anything else than the answer.
func (p *peer) wantAnswerOrEnd(t *testing.T, after string) {
	t.Helper()
	p.SetDeadline(time.Now().Add(stepLimit))
	err := p.ping()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection from before %s hangs: %v", after, err)
	} else {
		t.Logf("a connection from before %s: %v", after, err)
	}
}

// wantMany has connections open at once, made side by side, and each of them answer.
func (vm *machine) wantMany(t *testing.T) {
	t.Helper()
	ctx := limit(t, stepLimit)
	var peers [atOnce]*peer
	var wg sync.WaitGroup
	for i := range peers {
		wg.Go(func() {
			var err error
			if peers[i], err = vm.dial(ctx); err != nil {
				t.Errorf("connection %d of %d at once: %v", i, atOnce, err)
			}
		})
	}
	wg.Wait()
	for i, p := range peers {
		if p == nil {
			continue
		}
		if err := p.ping(); err != nil {
			t.Errorf("ping on connection %d of %d: %v", i, atOnce, err)
		}
		p.Close()
	}
}
