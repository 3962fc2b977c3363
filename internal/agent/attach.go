package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

// attachment is a host's connection to a job. A job has at most one: a newer one takes the job over.
type attachment struct {
	j    *job
	conn net.Conn
	in   bool // its host sends the input

	// All below is guarded by the job's mu.
	sent, acked [2]uint64 // of stdout and stderr
	eof         [2]bool   // was sent
	stdinAcked  uint64
	exitSent    bool
}

// ackEvery is how much of its input a command has taken before that is acknowledged: seldom, as each costs a switch to
// the host and back, and before the host's window is empty.
const ackEvery = wire.Window / 4

// ending is how a connection ended.
type ending int

const (
	endedDone   ending = iota // the host said so
	endedClosed               // the host's process is gone
	endedBroken               // anything else: it may come back
)

// attach makes c the job's connection, and returns the reply to send. Without an attachment the reply says why.
func (j *job) attach(c net.Conn, e *wire.Exec) (*attachment, wire.Reply) {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := &attachment{j: j, conn: c, in: e.Stdin}
	for i, has := range []uint64{e.Stdout, e.Stderr} {
		o := &j.out[i]
		if has > o.end {
			// A restore in place took the guest back to before it wrote that.
			return nil, wire.Reply{Error: fmt.Sprintf("the guest went back to a time before this state of job %s", j.id), Kind: wire.KindNoJob}
		}
		o.drop(has)
		a.sent[i] = o.start
		a.acked[i] = o.start
	}
	a.eof[1] = j.tty // a terminal has no stderr
	if j.att != nil {
		j.att.conn.Close()
	}
	j.timer.Stop()
	j.att, j.expected, j.orphaned = a, false, false
	j.cond.Broadcast()
	if e.Attach && e.Size != nil {
		login.SetSize(j.term, *e.Size)
	}
	return a, wire.Reply{Stdin: j.in.end}
}

// serve runs the attachment until its connection ends.
func (a *attachment) serve(r *wire.Reader, reply wire.Reply) {
	how := endedBroken
	defer func() { a.end(how) }()
	if send(a.conn, wire.TypeReply, reply) != nil {
		return
	}
	go func() {
		defer logPanic()
		a.sendAll()
	}()
	for {
		f, err := r.Read()
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				how = endedClosed
			}
			return
		}
		if f.Type == wire.TypeDone {
			how = endedDone
			return
		}
		if a.handle(f) != nil {
			return
		}
	}
}

// end tells the job how its connection ended.
func (a *attachment) end(how ending) {
	a.conn.Close()
	j := a.j
	j.mu.Lock()
	if j.att != a {
		j.mu.Unlock()
		return
	}
	j.att = nil
	over, detached, frozen := j.exit != nil, j.detach, j.s.frozen.Load()
	// Hoped for until decided otherwise, so that no output is dropped in between.
	j.expected = !over && !detached
	j.cond.Broadcast()
	j.mu.Unlock()
	switch {
	case over && how == endedDone && !detached:
		j.s.forget(j)
	case over:
		j.forgetLater()
	case detached:
	case how == endedDone, how == endedClosed && !frozen:
		j.hangUp(unix.SIGHUP)
	default:
		j.hangUpLater()
	}
}

// handle handles a frame of the host's.
func (a *attachment) handle(f wire.Frame) error {
	j := a.j
	switch f.Type {
	case wire.TypeData, wire.TypeEOF, wire.TypeAck:
		s, offset, content, err := f.Stream()
		if err != nil {
			return err
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.att != a {
			return net.ErrClosed
		}
		if f.Type == wire.TypeAck {
			return a.acknowledged(s, offset)
		}
		return j.in.arrived(s, offset, content, f.Type == wire.TypeEOF, j)
	case wire.TypeResize:
		var size wire.Size
		if err := f.Decode(&size); err != nil {
			return err
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		login.SetSize(j.term, size)
	case wire.TypeSignal:
		var sig wire.Signal
		if err := f.Decode(&sig); err != nil {
			return err
		}
		if sig.Signal < 1 || sig.Signal > 64 {
			return fmt.Errorf("%w: signal %d", wire.ErrProtocol, sig.Signal)
		}
		j.signal(unix.Signal(sig.Signal), false)
	default:
		return fmt.Errorf("%w: frame of type %d to a job", wire.ErrProtocol, f.Type)
	}
	return nil
}

// acknowledged frees what the host has. The job's mu is held.
func (a *attachment) acknowledged(s wire.Stream, offset uint64) error {
	if s == wire.Stdin {
		return fmt.Errorf("%w: stdin acknowledged by its sender", wire.ErrProtocol)
	}
	i := s - wire.Stdout
	if offset > a.sent[i] {
		return fmt.Errorf("%w: stream %d acknowledged to %d of %d", wire.ErrProtocol, s, offset, a.sent[i])
	}
	if offset <= a.acked[i] {
		return nil
	}
	a.acked[i] = offset
	a.j.out[i].drop(offset)
	if a.j.out[i].eof {
		a.j.out[i].release()
	}
	a.j.cond.Broadcast()
	return nil
}

// arrived appends what arrived for the command. The job's mu is held.
func (in *input) arrived(s wire.Stream, offset uint64, content []byte, eof bool, j *job) error {
	switch {
	case s != wire.Stdin:
		return fmt.Errorf("%w: data for stream %d", wire.ErrProtocol, s)
	case offset != in.end:
		return fmt.Errorf("%w: stdin at %d goes on at %d", wire.ErrProtocol, in.end, offset)
	case in.size()+len(content) > wire.Window:
		return fmt.Errorf("%w: stdin beyond its window", wire.ErrProtocol)
	case eof:
		in.eof = true
	case !in.open || in.eof:
		return fmt.Errorf("%w: stdin for a job without one", wire.ErrProtocol)
	default:
		in.append(content)
		if in.dead {
			in.drop(in.end)
		}
	}
	j.cond.Broadcast()
	return nil
}

// take appends what in has for the command, as far as there is room.
func (j *job) take(in *wire.Input) wire.Reply {
	j.mu.Lock()
	defer j.mu.Unlock()
	if in.Size != nil && j.term != nil {
		login.SetSize(j.term, *in.Size)
	}
	switch {
	case j.exit != nil:
		return wire.Reply{Error: fmt.Sprintf("job %s has ended", j.id), Kind: wire.KindNoJob}
	case len(in.Data) == 0 && !in.EOF:
		return wire.Reply{}
	case !j.in.open || j.in.eof:
		return usage(fmt.Sprintf("job %s reads no input, or it has ended", j.id))
	}
	n := min(len(in.Data), wire.Window-j.in.size())
	j.in.append(in.Data[:n])
	if j.in.dead {
		j.in.drop(j.in.end)
	}
	j.in.eof = in.EOF && n == len(in.Data)
	j.cond.Broadcast()
	return wire.Reply{Stdin: uint64(n)}
}

// sendAll sends what the job has for its host, as the windows allow, until the attachment or its connection ends.
func (a *attachment) sendAll() {
	j := a.j
	var b []byte
	for {
		j.mu.Lock()
		for {
			if j.att != a {
				j.mu.Unlock()
				return
			}
			if b = a.next(b[:0]); len(b) > 0 {
				break
			}
			j.cond.Wait()
		}
		j.mu.Unlock()
		if _, err := a.conn.Write(b); err != nil {
			// How the connection ended is for the reader to find out; it must, soon.
			a.conn.SetReadDeadline(time.Now().Add(time.Second))
			return
		}
		if cap(b) > 4*wire.MaxData {
			b = nil
		}
	}
}

// next appends the frames that are due, about wire.MaxData bytes of them at most. The job's mu is held.
func (a *attachment) next(b []byte) []byte {
	j := a.j
	if a.in && j.in.start-a.stdinAcked >= ackEvery {
		a.stdinAcked = j.in.start
		b = wire.AppendStream(b, wire.TypeAck, wire.Stdin, a.stdinAcked, nil)
	}
	for before := -1; before != len(b) && len(b) < wire.MaxData; {
		before = len(b)
		for i := range j.out {
			o, s := &j.out[i], wire.Stdout+wire.Stream(i)
			room := wire.Window - int(a.sent[i]-a.acked[i])
			if p := o.peek(a.sent[i], min(room, wire.MaxData)); len(p) > 0 {
				b = wire.AppendStream(b, wire.TypeData, s, a.sent[i], p)
				a.sent[i] += uint64(len(p))
			} else if o.eof && (o.late || j.exit != nil) && !a.eof[i] && a.sent[i] == o.end {
				b = wire.AppendStream(b, wire.TypeEOF, s, o.end, nil)
				a.eof[i] = true
			}
		}
	}
	if j.exit != nil && a.eof[0] && a.eof[1] && !a.exitSent && a.sent[0] == j.out[0].end {
		exit := *j.exit
		exit.Lost = j.out[0].lost + j.out[1].lost
		b, _ = wire.AppendMessage(b, wire.TypeExit, exit)
		a.exitSent = true
	}
	return b
}
