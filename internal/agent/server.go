// Package agent is the guest's end of noid. It runs commands, and adapts a guest that was restored.
//
// A Server speaks the protocol of package wire with any number of hosts. The commands it runs are jobs. A job outlives
// a connection that a snapshot broke (job.go says when it is hung up). Run is the whole agent: it finds the guest's
// transports, and as PID 1 it is also the guest's init.
//
// The agent trusts its host, which owns the guest anyway. It must work in a guest without /dev and /etc, with a
// read-only root, and must not die of anything that arrives.
package agent

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/link/wire"
)

const (
	maxConns  = 2 * wire.MaxJobs // connections at once; more wait in the listener's backlog
	helloWait = 30 * time.Second // for the first message of a connection
)

// Server runs jobs for hosts. The zero value is ready; its fields must be set before the first Serve.
type Server struct {
	Release string // of noid, for people
	// Init says that this process is PID 1: the server collects every orphan, and OpPoweroff ends the machine.
	Init bool
	// PowerOff replaces what OpPoweroff does, for tests. restart says that a restart ends this VM and a power-off would
	// not.
	PowerOff func(restart bool)

	once   sync.Once
	id     string // of this process and its clones
	reaper *reaper
	conns  chan struct{}
	null   *os.File

	mu     sync.Mutex
	jobs   map[string]*job
	kept   []*job // those in jobs that have ended, oldest first
	live   int    // those in jobs that have not
	open   map[io.Closer]struct{}
	closed bool
	name   string   // that the guest is to have
	names  []string // that were in /etc/hostname before

	frozen atomic.Bool // written with mu held
	away   atomic.Int64
	syncs  chan struct{} // has room for the one that writes back
	thaw   *time.Timer   // ends a freeze that nobody ends
}

func (s *Server) init() {
	s.once.Do(func() {
		s.id = rand.Text()
		s.reaper = newReaper(s.Init)
		s.syncs = make(chan struct{}, 1)
		s.conns = make(chan struct{}, maxConns)
		s.jobs = map[string]*job{}
		s.open = map[io.Closer]struct{}{}
		s.null = openNull()
	})
}

// openNull returns the descriptor that commands without input read. Opened once: the guest's /dev comes and goes.
func openNull() *os.File {
	if fd, err := openDevice("null", 1, 3, unix.O_RDWR); err == nil {
		return os.NewFile(uintptr(fd), "null")
	}
	r, w, _ := os.Pipe() // without any device: a pipe that nobody writes to reads the same
	w.Close()
	return r
}

// Serve answers connections of l until l is closed, which returns nil, or fails for good. It may run for several
// listeners at once. The connections go on when it returns.
func (s *Server) Serve(l net.Listener) error {
	s.init()
	if !s.track(l, true) {
		return net.ErrClosed
	}
	defer s.track(l, false)
	for {
		s.conns <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			<-s.conns
			switch {
			case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF):
				return nil
			case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM),
				errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
				time.Sleep(50 * time.Millisecond)
				continue
			}
			return fmt.Errorf("accepting a connection: %w", err)
		}
		go func() {
			defer func() { <-s.conns }()
			s.serveConn(c)
		}()
	}
}

// track remembers what Close must close, and reports whether the server still runs.
func (s *Server) track(c io.Closer, add bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !add {
		delete(s.open, c)
		return true
	}
	if !s.closed {
		s.open[c] = struct{}{}
	}
	return !s.closed
}

// Close closes listeners and connections, kills every job's process group and forgets the jobs. The agent of a guest
// never does that; a test does.
func (s *Server) Close() {
	s.init()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	for c := range s.open {
		c.Close()
	}
	running := slices.Collect(maps.Values(s.jobs))
	s.thawed()
	s.mu.Unlock()
	for _, j := range running {
		<-j.started
		j.hangUp(unix.SIGKILL)
		j.stopTimer()
	}
	for _, j := range running {
		<-j.ended
		j.stopTimer()
	}
	s.reaper.close()
	s.null.Close()
}

// logPanic keeps a bug in the service of one connection or job from ending the agent.
func logPanic() {
	if p := recover(); p != nil {
		fmt.Fprintf(os.Stderr, "noid-agent: %v\n%s", p, debug.Stack())
	}
}

func (s *Server) serveConn(c net.Conn) {
	defer logPanic()
	defer c.Close()
	if !s.track(c, true) {
		return
	}
	defer s.track(c, false)
	c.SetReadDeadline(time.Now().Add(helloWait))
	r := wire.NewReader(bufio.NewReaderSize(c, 16<<10))
	var hello wire.Hello
	f, err := r.Read()
	if err != nil || f.Decode(&hello) != nil {
		return
	}
	answer := wire.Hello{Version: wire.Agree(hello), Release: s.Release, Agent: s.id}
	if answer.Version == 0 {
		answer.Error = fmt.Sprintf("this guest's agent (%s) speaks versions %d to %d, the host %d to %d",
			s.Release, wire.MinVersion, wire.Version, hello.Min, hello.Version)
	}
	if send(c, wire.TypeHello, answer) != nil || answer.Version == 0 {
		return
	}
	c.SetReadDeadline(time.Time{})
	for {
		f, err := r.Read()
		if err != nil || f.Type != wire.TypeRequest {
			return
		}
		var req wire.Request
		if f.Decode(&req) != nil {
			return
		}
		if req.Op == wire.OpExec {
			if !s.exec(c, r, req.Exec) {
				return
			}
			continue
		}
		reply, after := s.answer(c, req)
		if send(c, wire.TypeReply, reply) != nil {
			// What the guest was asked to do is done all the same.
			c.Close()
		}
		if after != nil {
			after()
		}
	}
}

func send(w io.Writer, t wire.Type, v any) error {
	b, err := wire.AppendMessage(nil, t, v)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// answer does what req asks. after is to be called once the reply is sent.
func (s *Server) answer(c net.Conn, req wire.Request) (reply wire.Reply, after func()) {
	switch req.Op {
	case wire.OpPing:
	case wire.OpJobs:
		reply.Jobs = s.list()
	case wire.OpKill:
		reply = s.kill(req.Job, req.Signal)
	case wire.OpInput:
		reply = s.input(req.Job, req.Input)
	case wire.OpInfo:
		reply.Info = s.info()
	case wire.OpFreeze:
		s.away.Store(int64(away(time.Now(), req.Clock)))
		s.freeze()
	case wire.OpSync:
		if err := s.sync(); err != nil {
			reply.Error = err.Error()
		}
	case wire.OpThaw:
		if req.Clock > 0 {
			setClock(req.Clock + s.away.Load())
		}
		s.endFreeze()
	case wire.OpRestored:
		if req.Restored == nil {
			return usage("a restored request without its content"), nil
		}
		reply.Hooks = s.restored(*req.Restored)
	case wire.OpLook:
		if req.Restored != nil {
			reseed(req.Restored.Seed)
		}
		s.orphan()
	case wire.OpPoweroff:
		restart := c.LocalAddr() != nil && c.LocalAddr().Network() == "vsock"
		return reply, func() { go s.powerOff(restart) }
	default:
		return usage(fmt.Sprintf("unknown operation %.40q", req.Op)), nil
	}
	return reply, nil
}

func usage(text string) wire.Reply { return wire.Reply{Error: text, Kind: wire.KindUsage} }
