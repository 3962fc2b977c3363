package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Lines are lines of JSON on a unix socket, each with a descriptor perhaps. Each is read before the next is sent: the
// kernel may give a descriptor with the line before.
type Lines struct {
	conn *net.UnixConn
	in   *bufio.Reader
	max  int
	file *os.File // came and was not taken
}

// NewLines returns the lines of a connection, each at most max bytes long.
func NewLines(conn *net.UnixConn, max int) *Lines {
	l := &Lines{conn: conn, max: max}
	l.in = bufio.NewReader(files{l})
	return l
}

// files reads data, and keeps the last descriptor that came with it.
type files struct{ l *Lines }

func (f files) Read(b []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := f.l.conn.ReadMsgUnix(b, oob)
	if messages, parseErr := unix.ParseSocketControlMessage(oob[:oobn]); parseErr == nil {
		for _, m := range messages {
			fds, _ := unix.ParseUnixRights(&m)
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				f.l.keep(os.NewFile(uintptr(fd), "passed"))
			}
		}
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err // an error is -1
}

func (l *Lines) keep(file *os.File) {
	if l.file != nil {
		l.file.Close()
	}
	l.file = file
}

// Read reads a line into v, and returns the descriptor that came with it, or nil. The caller closes that.
func (l *Lines) Read(v any) (*os.File, error) {
	line, err := l.line()
	file := l.file
	l.file = nil
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	if err != nil && file != nil {
		file.Close()
		file = nil
	}
	return file, err
}

func (l *Lines) line() (line []byte, err error) {
	for {
		part, err := l.in.ReadSlice('\n')
		if line = append(line, part...); !errors.Is(err, bufio.ErrBufferFull) || len(line) > l.max {
			return line, err
		}
	}
}

// Write writes v as a line, with a descriptor unless file is nil.
func (l *Lines) Write(v any, file *os.File) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return Send(l.conn, append(line, '\n'), file)
}

// Send writes data to conn, with a descriptor unless file is nil.
func Send(conn *net.UnixConn, data []byte, file *os.File) error {
	if file == nil {
		_, err := conn.Write(data)
		return err
	}
	n, _, err := conn.WriteMsgUnix(data, unix.UnixRights(int(file.Fd())), nil)
	if err == nil && n < len(data) {
		_, err = conn.Write(data[n:])
	}
	return err
}

// Conn is the connection to a unix socket that a descriptor is, which it closes.
func Conn(file *os.File) (*net.UnixConn, error) {
	if file == nil {
		return nil, errors.New("no descriptor came")
	}
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("it is no connection to a unix socket")
	}
	return u, nil
}
