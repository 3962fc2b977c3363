package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/untrusted"
)

const (
	// maxLine bounds one QMP message. The longest that noid asks for, query-migrate's answer, is some 2 KB.
	maxLine = 64 << 10
	// maxSkipped bounds how many events and stale answers are skipped while waiting for one answer.
	maxSkipped = 10_000
)

// errUnanswered is a socket that is missing or that nobody listens on.
var errUnanswered = errors.New("qemu does not listen on its socket")

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

// dial opens a session with the QEMU in dir. QMP serves one client at a time and greets the next when the one before has
// left: dial waits for that until ctx ends. The session lives as long as ctx at most.
func dial(ctx context.Context, dir string) (*client, error) {
	// An O_PATH descriptor dodges the 108 bytes of a socket's path, and pins what was looked at: QEMU could put a
	// symbolic link to another socket in its place.
	path := filepath.Join(dir, SocketFile)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w: %s: %w", errs.ErrState, path, errUnanswered)
	} else if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, fmt.Errorf("looking at %s: %w", path, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, fmt.Errorf("%w: %s is no socket", errs.ErrState, path)
	}
	conn, err := connect(ctx, "/proc/self/fd/"+strconv.Itoa(fd))
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: %s: %w", errs.ErrState, path, errUnanswered)
	} else if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", path, err)
	}
	c := &client{conn: conn, in: bufio.NewReaderSize(conn, 4096), ctx: ctx}
	c.stop = context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	if err := c.greet(); err != nil {
		c.close()
		return nil, fmt.Errorf("greeting qemu: %w", err)
	}
	return c, nil
}

// connect retries while the listener's queue (length 1) is full.
func connect(ctx context.Context, path string) (*net.UnixConn, error) {
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		if !errors.Is(err, unix.EAGAIN) {
			return nil, err
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (c *client) close() {
	c.stop()
	c.conn.Close()
}

// greet reads the greeting and leaves negotiation mode.
func (c *client) greet() error {
	hello, err := c.read()
	if err != nil {
		return err
	}
	if hello.Greeting == nil {
		return errors.New("it is not QMP that answers")
	}
	v := hello.Greeting.Version.QEMU
	c.version = fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro)
	return c.do("qmp_capabilities", nil, nil)
}

// do carries out a command. args and result may be nil. The error is a *qmpError when QEMU refused.
func (c *client) do(command string, args, result any) error {
	return c.doWithFD(command, args, result, -1)
}

// doWithFD is do, with a descriptor sent beside the command unless fd is negative.
func (c *client) doWithFD(command string, args, result any, fd int) error {
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
	for range maxSkipped {
		answer, err := c.read()
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		if answer.Event != "" || answer.ID != c.lastID {
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

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
