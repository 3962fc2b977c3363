package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

const (
	// maxLine bounds one QMP message. The longest that noid asks for, query-migrate's answer, is some 2 KB.
	maxLine = 64 << 10
	// maxSkipped bounds how many events and stale answers are skipped while waiting for one answer.
	maxSkipped = 10_000
)

// client is one QMP session.
type client struct {
	conn    *net.UnixConn
	in      *bufio.Reader
	ctx     context.Context
	stop    func() bool
	lastID  int
	version string // from the greeting, such as "7.2.22"
}

// qmpError is QEMU's refusal of a command.
type qmpError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *qmpError) Error() string { return untrusted.End([]byte(e.Desc), 500) }

// message is anything that QEMU sends.
type message struct {
	Greeting *struct {
		Version struct {
			QEMU struct{ Major, Minor, Micro int } `json:"qemu"`
		} `json:"version"`
	} `json:"QMP"`
	Event  string          `json:"event"`
	ID     int             `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *qmpError       `json:"error"`
}

// dial opens a session with the QEMU in dir. QMP serves one client at a time and greets the next when the one before
// has left: dial waits for that until ctx ends. The session lives as long as ctx at most.
func dial(ctx context.Context, dir string) (*client, error) {
	conn, err := vmm.Dial(ctx, dir, SocketFile)
	for errors.Is(err, unix.EAGAIN) { // the listener's queue, of length 1, is full
		if err = vmm.Sleep(ctx, 10*time.Millisecond); err == nil {
			conn, err = vmm.Dial(ctx, dir, SocketFile)
		}
	}
	if vmm.Absent(err) || errors.Is(err, unix.ENOTSOCK) {
		return nil, errs.New(errs.ErrState, "qemu does not listen: %w", err)
	} else if err != nil {
		return nil, err
	}
	c := &client{conn: conn, in: bufio.NewReaderSize(conn, 4096), ctx: ctx}
	c.stop = context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	if err := c.greet(); err != nil {
		c.close()
		return nil, fmt.Errorf("greeting qemu: %w", err)
	}
	return c, nil
}

func (c *client) close() {
	c.stop()
	c.conn.Close()
}

// greet reads the greeting and leaves negotiation mode, which it asks for before.
func (c *client) greet() error {
	if err := c.send("qmp_capabilities", nil, -1); err != nil {
		return err
	}
	hello, err := c.read()
	if err != nil {
		return err
	}
	if hello.Greeting == nil {
		return errors.New("it is not QMP that answers")
	}
	v := hello.Greeting.Version.QEMU
	c.version = fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro)
	return c.await("qmp_capabilities", c.lastID, nil)
}

// do carries out a command. args and result may be nil. The error is a *qmpError when QEMU refused.
func (c *client) do(command string, args, result any) error {
	if err := c.send(command, args, -1); err != nil {
		return err
	}
	return c.await(command, c.lastID, result)
}

// send begins a command whose number is then c.lastID, with a descriptor beside it unless fd is negative. QEMU carries
// out commands one after the other: several may be sent before their answers are awaited.
func (c *client) send(command string, args any, fd int) error {
	c.lastID++
	request := map[string]any{"execute": command, "id": c.lastID}
	if args != nil {
		request["arguments"] = args
	}
	line, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	if _, _, err := c.conn.WriteMsgUnix(append(line, '\n'), rights, nil); err != nil {
		return fmt.Errorf("%s: %w", command, c.because(err))
	}
	return nil
}

// await reads up to the answer to command number id.
func (c *client) await(command string, id int, result any) error {
	for range maxSkipped {
		answer, err := c.read()
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		if answer.Event != "" || answer.ID != id {
			continue
		}
		if answer.Error != nil {
			return fmt.Errorf("%s: %w", command, answer.Error)
		}
		if result == nil {
			return nil
		}
		if err := json.Unmarshal(answer.Return, result); err != nil {
			return fmt.Errorf("%s: reading the answer: %w", command, err)
		}
		return nil
	}
	return fmt.Errorf("%s: no answer among %d messages", command, maxSkipped)
}

// read returns the next message.
func (c *client) read() (*message, error) {
	var line []byte
	for {
		part, err := c.in.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, fmt.Errorf("a message of over %d bytes", maxLine)
		}
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, c.because(err)
		}
	}
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, fmt.Errorf("reading %q: %w", untrusted.End(line, 100), err)
	}
	return &m, nil
}

// because prefers the reason of a context that ended to the I/O error that this caused.
func (c *client) because(err error) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return err
}
