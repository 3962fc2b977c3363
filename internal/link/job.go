package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"noid/internal/errs"
	"noid/internal/link/wire"
)

const (
	maxSignals  = 64               // that wait to be sent; more say no more
	signalDoubt = 10 * time.Second // a signal that was sent so shortly before the connection broke may not have arrived
)

// job is a command as the host knows it, over all its connections.
type job struct {
	e       wire.Exec
	s       Streams
	out     [2]*sink      // stdout, stderr
	broken  chan error    // a Write of the caller's failed
	kick    chan struct{} // there is something to send
	quit    chan struct{} // closed by stop
	started chan struct{} // closed at the first Reply
	cancel  context.CancelCauseFunc
	agent   string                      // that has the command: wire.Hello.Agent
	answers func(context.Context) error // waits until the agent answers

	mu      sync.Mutex
	in      source
	resize  bool // e.Size is news
	signals []int
	doubted []int // signals that were sent and may not have arrived
	sentAt  time.Time
	exit    *wire.Exit
	moved   uint64 // bytes and events so far: tells progress
	timer   *time.Timer
}

func newJobState(e wire.Exec, s Streams) *job {
	j := &job{e: e, s: s, broken: make(chan error, 2), kick: make(chan struct{}, 1), quit: make(chan struct{}), started: make(chan struct{})}
	for i, w := range []io.Writer{s.Out, s.Err} {
		if w == nil {
			w = io.Discard
		}
		j.out[i] = newSink(w, j)
		go j.out[i].run()
	}
	j.in.room = make(chan struct{}, 1)
	if e.Stdin && s.In == nil {
		j.in.eof = true
	}
	return j
}

// stop ends the job's goroutines, except one that is in a Read or Write of the caller's.
func (j *job) stop() {
	close(j.quit)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.timer != nil {
		j.timer.Stop()
	}
}

func (j *job) wake() { poke(j.kick) }

// poke sends to c, which has room for one, unless something waits there already.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// heed ends Exec when the signal n cannot reach the command.
func (j *job) heed(ctx context.Context, n int) {
	soon, cancel := context.WithTimeout(ctx, signalDoubt)
	defer cancel()
	if err := j.answers(soon); err != nil && !errors.Is(err, errs.ErrState) {
		j.cancel(fmt.Errorf("%w: %v, and the guest's agent does not answer", context.Canceled, syscall.Signal(n)))
	}
}

// listen handles the caller's signals and sizes. A signal before the command has started ends Exec.
func (j *job) listen(ctx context.Context) {
	resize, signals := j.s.Resize, j.s.Signals
	for {
		select {
		case <-ctx.Done():
			return
		case size, more := <-resize:
			if !more {
				resize = nil
				continue
			}
			j.mu.Lock()
			j.e.Size, j.resize = &size, true
			j.mu.Unlock()
		case n, more := <-signals:
			if !more {
				signals = nil
				continue
			}
			if !isClosed(j.started) {
				j.cancel(fmt.Errorf("%w: %v before the command began", context.Canceled, syscall.Signal(n)))
				return
			}
			j.mu.Lock()
			if len(j.signals) < maxSignals {
				j.signals = append(j.signals, n)
				go j.heed(ctx, n)
			}
			j.mu.Unlock()
		}
		j.wake()
	}
}

// request is what attaches to the job, or starts it while no reply ever came.
func (j *job) request() wire.Exec {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.e
	if isClosed(j.started) {
		e = wire.Exec{Job: e.Job, Attach: true, TTY: e.TTY, Stdin: e.Stdin, Size: e.Size}
	}
	e.Stdout, e.Stderr = j.out[0].claim(), j.out[1].claim()
	return e
}

// attached notes a Reply, the first thing on each connection.
func (j *job) attached(r wire.Reply, first bool) error {
	if j.s.Started != nil && !isClosed(j.started) {
		defer j.s.Started()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.e.Stdin { // else others may send it
		if err := j.in.rewind(r.Stdin); err != nil {
			return err
		}
	}
	for _, o := range j.out {
		o.ahead = !first || j.e.Attach // what nobody fetched may be gone
	}
	if time.Since(j.sentAt) < signalDoubt {
		j.signals = append(j.doubted, j.signals...)
	}
	j.doubted = nil
	if isClosed(j.started) {
		return nil
	}
	close(j.started)
	if j.e.TimeoutMs > 0 {
		j.timer = time.AfterFunc(time.Duration(j.e.TimeoutMs)*time.Millisecond+timeoutGrace, func() { j.cancel(errTimedOut) })
	}
	if j.e.Stdin && j.s.In != nil {
		go j.read()
	}
	return nil
}

// nudge has an acknowledgement sent that is not due. A snapshot resets Firecracker's vsock in the guest alone: the host
// learns of it by the answer to what it sends.
func (j *job) nudge() {
	o := j.out[0]
	o.mu.Lock()
	o.nudged = true
	o.mu.Unlock()
	j.wake()
}

func (j *job) progress() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.moved
}

// flush waits until all output was written, or ctx ends.
func (j *job) flush(ctx context.Context) error {
	for _, o := range j.out {
		select {
		case <-o.drained():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case err := <-j.broken:
		return err
	default:
		return nil
	}
}

// read moves the caller's input into the window.
func (j *job) read() {
	buf := make([]byte, 32<<10)
	for {
		j.mu.Lock()
		room := j.in.free()
		j.mu.Unlock()
		if room == 0 {
			select {
			case <-j.in.room:
				continue
			case <-j.quit:
				return
			}
		}
		n, err := j.s.In.Read(buf[:min(room, len(buf))])
		j.mu.Lock()
		j.in.buf = append(j.in.buf, buf[:n]...)
		j.in.eof = err != nil // whatever the reason, no more comes
		j.mu.Unlock()
		j.wake()
		if err != nil || isClosed(j.quit) {
			return
		}
	}
}

// send writes frames until quit is closed (nil) or a write fails.
func (j *job) send(w io.Writer, quit <-chan struct{}) error {
	var batch []byte
	for {
		batch = j.batch(batch[:0])
		if len(batch) > 0 {
			if _, err := w.Write(batch); err != nil {
				return fmt.Errorf("%w: %w", errBroken, err)
			}
			if isClosed(quit) {
				return nil
			}
			continue
		}
		select {
		case <-j.kick:
		case <-quit:
			return nil
		}
	}
}

// batch appends what is to be sent now: one frame of the input at most, so that signals and acknowledgements wait for
// no more.
func (j *job) batch(b []byte) []byte {
	for i, o := range j.out {
		if to, due := o.ack(); due {
			b = wire.AppendStream(b, wire.TypeAck, wire.Stdout+wire.Stream(i), to, nil)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, n := range j.signals {
		b, _ = wire.AppendMessage(b, wire.TypeSignal, wire.Signal{Signal: n}) // a small struct always fits
		j.doubted, j.sentAt = append(j.doubted, n), time.Now()
	}
	j.signals = nil
	if len(j.doubted) > maxSignals {
		j.doubted = j.doubted[len(j.doubted)-maxSignals:]
	}
	if j.resize && j.e.Size != nil {
		b, _ = wire.AppendMessage(b, wire.TypeResize, *j.e.Size)
	}
	j.resize = false
	if !j.e.Stdin {
		return b
	}
	return j.in.append(b)
}
