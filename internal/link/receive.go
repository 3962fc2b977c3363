package link

import (
	"errors"
	"fmt"

	"noid/internal/link/wire"
)

// maxIdle is how many frames in a row may bring nothing new. An agent has reason for a few after an attach.
const maxIdle = 1000

// receive handles the agent's frames until the Exit (nil), the end of the connection (errBroken) or a protocol error.
// It never waits for the caller's writers: the window bounds what they have not written.
func (j *job) receive(in *wire.Reader) error {
	for idle := 0; idle < maxIdle; {
		f, err := in.Read()
		if errors.Is(err, wire.ErrProtocol) {
			return err
		} else if err != nil {
			return fmt.Errorf("%w: %w", errBroken, err)
		}
		if f.Type == wire.TypeExit {
			return j.exited(f)
		}
		news, err := j.frame(f)
		if err != nil {
			return fmt.Errorf("%w: %w", wire.ErrProtocol, err)
		}
		idle++
		if news {
			idle = 0
			j.mu.Lock()
			j.moved++
			j.doubted = nil // the guest is there: they arrived
			j.mu.Unlock()
		}
	}
	return fmt.Errorf("%w: %d frames in a row that mean nothing", wire.ErrProtocol, maxIdle)
}

// frame takes a Data, Ack or EOF. news says whether it moved anything.
func (j *job) frame(f wire.Frame) (news bool, err error) {
	if f.Type != wire.TypeData && f.Type != wire.TypeAck && f.Type != wire.TypeEOF {
		return false, fmt.Errorf("frame of type %d while a command runs", f.Type)
	}
	s, offset, content, err := f.Stream()
	if err != nil {
		return false, err
	}
	if f.Type == wire.TypeAck {
		if s != wire.Stdin {
			return false, fmt.Errorf("acknowledgement of stream %d", s)
		}
		j.mu.Lock()
		news, err = j.in.ack(offset)
		j.mu.Unlock()
		if news {
			j.wake()
		}
		return news, err
	}
	if s == wire.Stdin {
		return false, fmt.Errorf("frame of type %d on stream %d", f.Type, s)
	}
	o := j.out[s-wire.Stdout]
	if f.Type == wire.TypeEOF {
		return o.end(offset)
	}
	return len(content) > 0, o.add(offset, content)
}

// checkExit refuses an Exit that no command has, and makes its text fit for a terminal.
func checkExit(e *wire.Exit) error {
	if e.Code < 0 || e.Code > 255 || e.Signal < 0 || e.Signal > 64 {
		return fmt.Errorf("%w: exit code %d, signal %d", wire.ErrProtocol, e.Code, e.Signal)
	}
	e.Error = clean(e.Error)
	return nil
}

// exited takes the Exit.
func (j *job) exited(f wire.Frame) error {
	var e wire.Exit
	if err := f.Decode(&e); err != nil {
		return err
	}
	if err := checkExit(&e); err != nil {
		return err
	}
	j.mu.Lock()
	j.exit = &e
	j.mu.Unlock()
	return nil
}

// source is the command's input: what the agent has not acknowledged. The job's mutex guards it.
type source struct {
	buf   []byte        // from base on, at most wire.Window
	base  uint64        // acknowledged
	sent  uint64        // sent on this connection
	high  uint64        // sent on any
	eof   bool          // buf is the last of it
	ended bool          // the EOF was sent on this connection
	room  chan struct{} // buf got shorter
}

func (s *source) free() int { return wire.Window - len(s.buf) }

// rewind starts a connection at what the agent says that it has.
func (s *source) rewind(has uint64) error {
	switch {
	case has < s.base:
		return errWentBack
	case has > s.high:
		return fmt.Errorf("%w: the guest has %d bytes of the input and was sent %d", wire.ErrProtocol, has, s.high)
	}
	s.sent, s.ended = has, false
	s.drop(has)
	return nil
}

// ack takes an acknowledgement: of what was sent here, and no less than before.
func (s *source) ack(to uint64) (news bool, err error) {
	if to > s.sent {
		return false, fmt.Errorf("acknowledgement of %d bytes of the input, of which %d were sent", to, s.sent)
	}
	if to <= s.base {
		return false, nil
	}
	s.drop(to)
	return true, nil
}

func (s *source) drop(to uint64) {
	s.buf = s.buf[to-s.base:]
	s.base = to
	if len(s.buf) == 0 && cap(s.buf) < wire.MaxData {
		s.buf = nil
	}
	poke(s.room)
}

// append appends the next frame of the input to b, if there is one to send.
func (s *source) append(b []byte) []byte {
	if rest := s.buf[s.sent-s.base:]; len(rest) > 0 {
		rest = rest[:min(len(rest), wire.MaxData)]
		b = wire.AppendStream(b, wire.TypeData, wire.Stdin, s.sent, rest)
		s.sent += uint64(len(rest))
		s.high = max(s.high, s.sent)
		return b
	}
	if s.eof && !s.ended {
		b = wire.AppendStream(b, wire.TypeEOF, wire.Stdin, s.sent, nil)
		s.ended = true
	}
	return b
}
