package vmtest

import (
	"bufio"
	"net"

	"noid/internal/link/wire"
)

// fakeAgent stands for the agent in a guest: it does nothing of what it is asked, and says that it has.
type fakeAgent struct{}

// serve answers the requests on one connection. called is told of each, and says what it fails with.
func (fakeAgent) serve(conn net.Conn, called func(string) error) {
	defer conn.Close()
	in := wire.NewReader(bufio.NewReader(conn))
	var hello wire.Hello
	if !read(in, &hello) || !write(conn, wire.TypeHello, wire.Hello{Version: wire.Agree(hello), Release: "fake"}) {
		return
	}
	var req wire.Request
	if !read(in, &req) {
		return
	}
	var reply wire.Reply
	if err := called("agent " + string(req.Op)); err != nil {
		reply.Error = err.Error()
	}
	if req.Op == wire.OpInfo {
		reply.Info = &wire.Info{Release: "fake", Kernel: "6.1"}
	}
	write(conn, wire.TypeReply, reply)
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
