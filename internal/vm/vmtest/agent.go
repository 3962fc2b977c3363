package vmtest

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"noid/internal/link/wire"
	"noid/internal/vmm"
)

// fakeAgent stands for the agent in a guest. It answers each request as if it had done it. It really does two things:
// at poweroff it ends the VMM, and with jobs it runs commands.
type fakeAgent struct {
	called func(string) error // is told of each request, and says what it fails with
	dir    string             // the VM's
	jobs   bool               // there is a JobsSocket
}

// serve answers the requests on one connection.
func (a fakeAgent) serve(conn net.Conn) {
	defer conn.Close()
	for a.paused() { // a guest that stands still says nothing
		vmm.Sleep(context.Background(), 5*time.Millisecond)
	}
	buffered := bufio.NewReader(conn)
	in := wire.NewReader(buffered)
	var hello wire.Hello
	if !read(in, &hello) || !write(conn, wire.TypeHello, wire.Hello{Version: wire.Agree(hello), Release: "fake"}) {
		return
	}
	for a.answer(conn, buffered, in, hello) {
	}
}

// answer answers the next request, and reports whether another one may follow.
func (a fakeAgent) answer(conn net.Conn, buffered *bufio.Reader, in *wire.Reader, hello wire.Hello) bool {
	var req wire.Request
	if !read(in, &req) {
		return false
	}
	var reply wire.Reply
	call := "agent " + string(req.Op)
	if req.Clock != 0 {
		call += ", clock"
	}
	err := a.called(call)
	switch {
	case err != nil:
		reply.Error = err.Error()
	case req.Op == wire.OpInfo:
		reply.Info = &wire.Info{Release: "fake", Kernel: "6.1"}
	case a.jobs && (req.Op == wire.OpExec || req.Op == wire.OpJobs || req.Op == wire.OpKill || req.Op == wire.OpInput): // nothing that changes this machine
		a.runJob(conn, buffered, hello, req)
		return false
	case req.Op == wire.OpPoweroff:
		defer a.powerOff()
	}
	return write(conn, wire.TypeReply, reply)
}

// runJob has the agent on JobsSocket answer req, and what follows it from the host.
func (a fakeAgent) runJob(host net.Conn, more io.Reader, hello wire.Hello, req wire.Request) {
	guest, err := vmm.Dial(context.Background(), a.dir, JobsSocket)
	if err != nil {
		return // the guest boots: the host tries again
	}
	defer guest.Close()
	var answer wire.Hello
	buffered := bufio.NewReader(guest)
	if !write(guest, wire.TypeHello, hello) || !read(wire.NewReader(buffered), &answer) || !write(guest, wire.TypeRequest, req) {
		return
	}
	go func() {
		io.Copy(guest, more)
		guest.Close()
	}()
	io.Copy(host, buffered)
}

func (a fakeAgent) paused() bool {
	st, err := os.ReadFile(filepath.Join(a.dir, stateFile))
	return err == nil && vmm.State(st) == vmm.Paused
}

func (a fakeAgent) powerOff() {
	for _, p := range vmm.FindIn(a.dir) {
		p.Kill(context.Background())
	}
}

func read(in *wire.Reader, message any) bool {
	frame, err := in.Read()
	return err == nil && frame.Decode(message) == nil
}

func write(conn net.Conn, kind wire.Type, message any) bool {
	b, err := wire.AppendMessage(nil, kind, message)
	if err != nil {
		return false
	}
	_, err = conn.Write(b)
	return err == nil
}
