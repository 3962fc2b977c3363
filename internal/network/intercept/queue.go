package intercept

import (
	"net"
	"sync"
)

// queue is the listener of connections that are there already.
type queue struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newQueue() *queue {
	q := &queue{conns: make(chan net.Conn), closed: make(chan struct{})}
	q.close = sync.OnceFunc(func() { close(q.closed) })
	return q
}

// add has conn served, unless the queue is closed.
func (q *queue) add(conn net.Conn) bool {
	select {
	case q.conns <- conn:
		return true
	case <-q.closed:
		return false
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.close()
	return nil
}

func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }
