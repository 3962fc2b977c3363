package firecracker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"noid/internal/link/wire"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

const (
	// connectTimeout bounds one CONNECT. An answer takes well under a millisecond, on a busy host more; Firecracker
	// 1.16 may give none at all.
	connectTimeout = 2 * time.Second
	// maxAnswer bounds the line that answers a CONNECT: "OK " and a port number.
	maxAnswer = 32
)

// errNobody is a guest in which no agent listens.
var errNobody = errors.New("nobody listens in the guest")

// Connect implements vmm.Driver with the CONNECT protocol of Firecracker's vsock (docs/vsock.md).
func (d *Driver) Connect(ctx context.Context, dir string) (net.Conn, error) {
	ctx, cancel := vmm.Bounded(ctx, connectTimeout, "the guest's vsock")
	defer cancel()
	conn, err := vmm.Dial(ctx, dir, VsockFile)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
		if err = ask(conn); !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			return conn, nil
		}
		conn.Close()
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("connecting to the agent: %w", err)
}

// ask asks for the agent's port and reads the answer, byte by byte: what follows is the agent's.
func ask(conn io.ReadWriter) error {
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", wire.VsockPort); err != nil {
		return err
	}
	var answer []byte
	for b := make([]byte, 1); len(answer) < maxAnswer; answer = append(answer, b[0]) {
		if _, err := conn.Read(b); errors.Is(err, io.EOF) {
			return errNobody
		} else if err != nil {
			return err
		}
		if b[0] == '\n' {
			if !bytes.HasPrefix(answer, []byte("OK ")) {
				break
			}
			return nil
		}
	}
	return fmt.Errorf("firecracker's vsock answered %q", untrusted.End(answer, maxAnswer))
}
