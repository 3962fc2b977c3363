package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"noid/internal/errs"
	"noid/internal/vmm"
)

// maxAnswer bounds an answer, in bytes: a helper may be asked for thousands of flows.
const maxAnswer = 8 << 20

// Client asks the helper of one VM.
type Client struct {
	Dial func(ctx context.Context) (net.Conn, error) // connects to its socket
	// VMM is the pid of the VM's VMM, which a hostile guest may have taken over: it is no helper, whatever it listens at.
	VMM int
}

// again is the time between two tries to reach a helper that starts.
const again = 10 * time.Millisecond

// Ask sends r and returns the answer. It waits for a helper that starts until ctx ends: errs.ErrTimeout then. What the
// helper refuses is an error too.
func (c Client) Ask(ctx context.Context, r Request) (Answer, error) { return c.AskWith(ctx, r, nil) }

// AskWith is Ask with a descriptor for the helper, unless file is nil.
func (c Client) AskWith(ctx context.Context, r Request, file *os.File) (Answer, error) {
	a, conn, err := c.ask(ctx, r, file)
	if conn != nil {
		conn.Close()
	}
	return a, err
}

// Hold is Ask for a request whose effect ends with the connection, which the caller closes.
func (c Client) Hold(ctx context.Context, r Request) (Answer, net.Conn, error) {
	a, conn, err := c.ask(ctx, r, nil)
	if err != nil && conn != nil {
		conn.Close()
		conn = nil
	}
	return a, conn, err
}

// check refuses a connection to the VMM.
func (c Client) check(conn net.Conn) error {
	u, ok := conn.(*net.UnixConn)
	if !ok || c.VMM == 0 {
		return nil
	}
	peer, err := vmm.Peer(u)
	if err == nil && int(peer.Pid) == c.VMM {
		err = errors.New("the VMM listens in its place")
	}
	return err
}

func (c Client) ask(ctx context.Context, r Request, file *os.File) (a Answer, conn net.Conn, err error) {
	for {
		if conn, err = c.Dial(ctx); err == nil {
			if err = c.check(conn); err == nil {
				break
			}
			conn.Close()
			conn = nil
		}
		select {
		case <-ctx.Done():
			return a, nil, errs.New(errs.ErrTimeout, "the network helper does not answer: %w", err)
		case <-time.After(again):
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err = send(conn, r, file); err == nil {
		err = json.NewDecoder(io.LimitReader(conn, maxAnswer)).Decode(&a)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		err = errs.New(errs.ErrTimeout, "the network helper does not answer: %w", ctx.Err())
	case err != nil:
		err = fmt.Errorf("the network helper: %w", err)
	case a.Error != "":
		err = errors.New(a.Error)
	}
	return a, conn, err
}

// send writes r as a line, with a descriptor unless file is nil.
func send(conn net.Conn, r Request, file *os.File) error {
	u, ok := conn.(*net.UnixConn)
	if !ok || file == nil {
		return json.NewEncoder(conn).Encode(r)
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return Send(u, append(line, '\n'), file)
}
