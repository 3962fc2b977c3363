package serve

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxQueued is how many bytes of a client's input wait for a command that does not read, before no more messages are read.
const maxQueued = 256 << 10

// hangUpEvery is how often a client whose messages are not read is looked for. One whose messages are read is heard.
const hangUpEvery = 100 * time.Millisecond

var errHungUp = errors.New("the client has hung up")

// input is the input of a command, between the client's messages and what reads it, so that a command which reads nothing
// keeps nobody from hearing the client.
type input struct {
	to      *io.PipeWriter
	gone    func() bool // the client has hung up
	mu      sync.Mutex
	pieces  [][]byte
	size    int
	ended   bool          // no more comes
	changed chan struct{} // has room for one: something was added or taken
	taken   chan struct{}
}

func newInput(to *io.PipeWriter, gone func() bool) *input {
	return &input{to: to, gone: gone, changed: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add queues b. Where too much is queued it waits, until there is room or the client has hung up.
func (q *input) add(b []byte) error {
	tick := time.NewTicker(hangUpEvery)
	defer tick.Stop()
	for {
		q.mu.Lock()
		if q.ended {
			q.mu.Unlock()
			return nil // after its end it is lost, as in a pipe
		}
		if q.size < maxQueued {
			q.pieces, q.size = append(q.pieces, b), q.size+len(b)
			q.mu.Unlock()
			signal(q.changed)
			return nil
		}
		q.mu.Unlock()
		select {
		case <-q.taken:
		case <-tick.C:
			if q.gone() {
				return errHungUp
			}
		}
	}
}

// end is the end of the input, after what is queued.
func (q *input) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	signal(q.changed)
}

// run hands on what is queued until the input has ended, or nobody reads any more. Then it loses what comes.
func (q *input) run() {
	for {
		q.mu.Lock()
		var next []byte
		if len(q.pieces) > 0 {
			next, q.pieces = q.pieces[0], q.pieces[1:]
			q.size -= len(next)
		}
		over := q.ended && next == nil
		q.mu.Unlock()
		switch {
		case over:
			q.to.Close()
			return
		case next == nil:
			<-q.changed
			continue
		}
		signal(q.taken)
		if _, err := q.to.Write(next); err != nil {
			q.lose()
			return
		}
	}
}

// lose is for input that nobody reads any more.
func (q *input) lose() {
	q.mu.Lock()
	q.ended, q.pieces, q.size = true, nil, 0
	q.mu.Unlock()
	signal(q.taken)
}

// hungUp reports whether the other end of conn is closed, though what it has sent before was not read.
func hungUp(conn net.Conn) bool {
	for {
		guarded, ok := conn.(guardedConn)
		if !ok {
			break
		}
		conn = guarded.Conn
	}
	sys, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}
