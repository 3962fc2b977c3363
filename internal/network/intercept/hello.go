package intercept

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// silence is how long a client may say nothing before it is taken for one that waits for the server. At the port of
	// HTTPS no server speaks first, and a slow client reads its list of authorities between its connect and its
	// ClientHello, as Python's requests does: there it is helloWait.
	silence   = 3 * time.Second
	httpsPort = 443
	// helloWait bounds how long a ClientHello that has begun may take, maxHello its bytes.
	helloWait = 30 * time.Second
	maxHello  = 128 << 10
)

// recordHandshake begins every TLS record that a ClientHello may stand in (RFC 8446, section 5.1).
const recordHandshake = 22

// peeked is a connection whose first bytes were looked at. It is read from its beginning.
type peeked struct {
	net.Conn
	first []byte

	name   string // the server's, as the ClientHello has it, in lower case; or ""
	port   uint16
	closed chan struct{}
	close  func() error
}

// peek reads the ClientHello of conn, which the guest opened to port. A guest that speaks anything else, or nothing, has
// no server's name. An error is one of reading, or a ClientHello that does not end.
func peek(conn net.Conn, port uint16) (*peeked, error) {
	p := &peeked{Conn: conn, port: port, closed: make(chan struct{})}
	p.close = sync.OnceValue(func() error {
		close(p.closed)
		return conn.Close()
	})
	wait := silence
	if port == httpsPort {
		wait = helloWait
	}
	conn.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 4<<10)
	n, err := conn.Read(buf)
	p.first = buf[:n]
	if n == 0 {
		if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.EOF) {
			return nil, err
		}
	} else if buf[0] == recordHandshake {
		conn.SetReadDeadline(time.Now().Add(helloWait))
		if err := p.readHello(); err != nil {
			return nil, err
		}
	}
	conn.SetReadDeadline(time.Time{})
	return p, nil
}

// errStop ends a handshake that was only begun to have the ClientHello parsed.
var errStop = errors.New("stop")

func (p *peeked) readHello() error {
	r := &recorder{src: p.Conn, seen: bytes.NewBuffer(p.first), left: maxHello - len(p.first)}
	r.replay = bytes.NewReader(p.first)
	whole := false
	err := tls.Server(r, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		p.name, whole = strings.ToLower(hello.ServerName), true
		return nil, errStop
	}}).Handshake()
	p.first = r.seen.Bytes()
	if !whole && r.err != nil && !errors.Is(r.err, io.EOF) {
		return r.err
	} else if !whole && errors.Is(err, errTooLong) {
		return errTooLong
	}
	return nil // what is no ClientHello has no name
}

var errTooLong = errors.New("the TLS ClientHello is too long")

// recorder is the connection of a handshake that never answers.
type recorder struct {
	net.Conn // nil: crypto/tls reads and writes alone before it has the ClientHello
	src      net.Conn
	replay   *bytes.Reader
	seen     *bytes.Buffer
	left     int
	err      error // of src
}

func (r *recorder) Read(b []byte) (int, error) {
	if r.replay.Len() > 0 {
		return r.replay.Read(b)
	}
	if r.left <= 0 {
		r.err = errTooLong
		return 0, errTooLong
	}
	n, err := r.src.Read(b[:min(len(b), r.left)])
	r.seen.Write(b[:n])
	r.left -= n
	r.err = err
	return n, err
}

func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }

// Read reads what was looked at first.
func (p *peeked) Read(b []byte) (int, error) {
	if len(p.first) > 0 {
		n := copy(b, p.first)
		if p.first = p.first[n:]; len(p.first) == 0 {
			p.first = nil
		}
		return n, nil
	}
	return p.Conn.Read(b)
}

// Close closes the connection once.
func (p *peeked) Close() error { return p.close() }

// CloseWrite ends what is written, where the connection can.
func (p *peeked) CloseWrite() error {
	if c, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
