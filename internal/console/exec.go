package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"noid/internal/errs"
)

// ExecOptions are Exec's settings; the zero value works.
type ExecOptions struct {
	// Stdout gets what the command writes to its standard output and error, as it comes; nil discards it.
	Stdout io.Writer
	// WaitBoot is how long to wait for a shell on the console; 0 means 60 s.
	WaitBoot time.Duration
	// Timeout ends the command when it has run that long; 0 means never.
	Timeout time.Duration
	// Alive says whether the VMM is still there; nil asks whether a process reads serial.in.
	Alive func() bool
	// LockDir is where exec.lock and input.lock are; "" means the VM's directory. LockInput must be given the same.
	LockDir string
}

// TimeoutCode is the exit code of a command that Timeout ended, as timeout(1) has it.
const TimeoutCode = 124

var errDeadline = errors.New("deadline") // internal: a wait's time is over

// Exec runs argv in the shell on the serial console of the VM in dir and returns its exit status: 128+N for signal N,
// 127 when there is no such command, TimeoutCode when o.Timeout ran out. The command's standard input is empty. Any sh
// will do (busybox, dash, bash). A login prompt is answered with root.
//
// Output is byte for byte the command's, within the limits of a serial line. What else writes to the console meanwhile
// is in it. Kernel messages with a time stamp are removed, and with them a command's own line of the form "[ 12.345678]
// …" that ends in CR LF. In a guest without stty, kernel messages stay.
//
// Execs of one VM run one after the other. Errors: errs.ErrUsage for an impossible argv; errs.ErrTimeout without a
// shell in time; errs.ErrState when the VM is not running, dies, or wants a password; ctx's error when the command was
// interrupted. A command that ignores Ctrl+C and Ctrl+\ for 2 s each is suspended and killed if the shell has job
// control. Else it runs on.
func Exec(ctx context.Context, dir string, argv []string, o ExecOptions) (code int, err error) {
	if len(argv) == 0 || argv[0] == "" {
		return 0, errs.New(errs.ErrUsage, "no command given")
	}
	if strings.ContainsRune(strings.Join(argv, ""), 0) {
		return 0, errs.New(errs.ErrUsage, "the command contains a NUL byte")
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	if o.WaitBoot <= 0 {
		o.WaitBoot = 60 * time.Second
	}
	defaults(dir, &o.LockDir, &o.Alive)
	turn, err := lockFile(ctx, filepath.Join(o.LockDir, execLockFile))
	if err != nil {
		return 0, fmt.Errorf("waiting for the console: %w", err)
	}
	defer turn.Close()
	in, log, err := open(dir)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	defer log.Close()
	n := newNonce()
	s := &session{o: o, in: in, log: log, n: n, p: newParser(n), turn: turn, buf: make([]byte, 32<<10)}
	defer s.unlock()
	return s.run(ctx, script(command(argv)))
}

// session is one Exec.
type session struct {
	o           ExecOptions
	in          *input
	log         *tail
	n           nonce
	p           *parser
	turn        *os.File // exec.lock
	unlockInput func()   // set while input.lock is held
	buf         []byte
	queue       []event // found and not yet asked for
	line        []byte  // the end of the unfinished last line before the command runs
	lastNew     time.Time
	seen        int64 // bytes read so far
	started     time.Time
}

func (s *session) run(ctx context.Context, script string) (int, error) {
	unfinished := s.unfinished()
	ev, err := s.begin(ctx, script, unfinished)
	if err != nil {
		return 0, err
	}
	s.unlock()
	s.log.lost = 0
	s.started = time.Now()
	var deadline time.Time
	if s.o.Timeout > 0 {
		deadline = s.started.Add(s.o.Timeout)
	}
	if ev.kind == 'b' {
		ev, err = s.wait(ctx, deadline, "ef")
	}
	if err == nil {
		s.settle(ctx, ev)
		s.setUnfinished(false)
		if s.log.lost > 0 {
			return ev.code, fmt.Errorf("%d bytes of the command's output came faster than they could be read and are lost", s.log.lost)
		}
		return ev.code, nil
	}
	if errors.Is(err, errs.ErrState) {
		return 0, err
	}
	if s.interrupt() {
		s.setUnfinished(false)
	}
	if errors.Is(err, errDeadline) {
		return TimeoutCode, nil
	}
	return 0, err
}

// begin finds the shell, gives it the script and returns when the command has begun (event b, or the end when a kernel
// message tore b), with input.lock held.
func (s *session) begin(ctx context.Context, script string, unfinished bool) (event, error) {
	blocks := encode(script)
	bootBy := time.Now().Add(s.o.WaitBoot)
	var giveUp time.Time // set when a shell has been seen
	for {
		if err := s.sync(ctx, bootBy, unfinished); err != nil {
			return event{}, err
		}
		if giveUp.IsZero() {
			giveUp = time.Now().Add(30 * time.Second)
		}
		s.setUnfinished(true)
		ev, err := s.upload(ctx, blocks)
		if err == nil {
			return ev, nil
		}
		if ctx.Err() != nil || !errors.Is(err, errDeadline) {
			s.in.send(context.WithoutCancel(ctx), []byte{ctrlC}, time.Now().Add(time.Second))
			return event{}, err
		}
		s.unlock()
		if bootBy = giveUp; time.Now().After(giveUp) {
			return event{}, errs.New(errs.ErrTimeout, "the shell on the console does not take a command")
		}
		unfinished = true // its receiver may still wait for lines
	}
}

// upload types the receiver's line and then the blocks, each when the guest is ready for it, and returns the event that
// the last one led to. errDeadline means that the shell did not play along and nothing has run.
func (s *session) upload(ctx context.Context, blocks []string) (event, error) {
	const patience = 10 * time.Second // of a slow guest for one line or block
	step := func(text, want string) (event, error) {
		by := time.Now().Add(patience)
		if err := s.in.send(ctx, []byte(text), by); err != nil {
			if errors.Is(err, errs.ErrTimeout) {
				err = errDeadline
			}
			return event{}, err
		}
		return s.wait(ctx, by, want)
	}
	if _, err := step(string(rune(ctrlU))+s.n.bootLine(), "r"); err != nil {
		return event{}, err
	}
	last := len(blocks) - 1
	for _, b := range blocks[:last] {
		if _, err := step(b, "a"); err != nil {
			return event{}, err
		}
	}
	ev, err := step(blocks[last], "bxef")
	if errors.Is(err, errDeadline) { // never run a command twice
		err = errs.New(errs.ErrTimeout, "the guest stopped answering as it took the command, which may have run")
	} else if ev.kind == 'x' { // a byte was lost or added on the way
		err = errDeadline
	}
	return ev, err
}

// settle waits a moment for the second end marker, after which the tty is the shell's again.
func (s *session) settle(ctx context.Context, ev event) {
	if ev.kind == 'e' {
		s.wait(ctx, time.Now().Add(time.Second), "f")
	}
}

// wait reads the log, passes the command's output on and returns the first event of the wanted kinds. Its errors:
// errDeadline after the deadline (zero: none), ctx's, errs.ErrState when the VM died, and what Stdout.Write returned.
func (s *session) wait(ctx context.Context, deadline time.Time, kinds string) (event, error) {
	var p pace
	for {
		for len(s.queue) > 0 {
			ev := s.queue[0]
			s.queue = s.queue[1:]
			if strings.IndexByte(kinds, ev.kind) >= 0 {
				return ev, nil
			}
		}
		if err := ctx.Err(); err != nil {
			return event{}, err
		}
		if !deadline.IsZero() && time.Now().After(deadline) {
			return event{}, errDeadline
		}
		got, err := s.read()
		if got {
			p.pause = 0
		} else if err == nil {
			err = p.wait(ctx, s.o.Alive)
		}
		if err == errGone {
			err = s.died()
		}
		if err != nil {
			return event{}, err
		}
	}
}

func (s *session) died() error {
	if s.started.IsZero() {
		return errs.New(errs.ErrState, "the VM died before the command ran")
	}
	s.o.Stdout.Write(s.p.finish())
	return errs.New(errs.ErrState, "the VM died while the command ran")
}

// read takes one piece of the log. It reports whether there was one.
func (s *session) read() (bool, error) {
	n, err := s.log.read(s.buf)
	if err != nil {
		return false, fmt.Errorf("reading the console's log: %w", err)
	}
	var out []byte
	var events []event
	if n > 0 {
		s.lastNew = time.Now()
		s.seen += int64(n)
		s.remember(s.buf[:n])
		out, events = s.p.feed(s.buf[:n])
	} else if time.Since(s.lastNew) > 250*time.Millisecond {
		out, events = s.p.idle()
	}
	s.queue = append(s.queue, events...)
	if len(s.queue) > 1024 { // a guest that forges markers
		s.queue = s.queue[len(s.queue)-1024:]
	}
	if len(out) > 0 {
		if _, err := s.o.Stdout.Write(out); err != nil {
			return true, fmt.Errorf("writing the command's output: %w", err)
		}
	}
	return n > 0, nil
}

// interrupt ends a running command the hard way and reports whether the shell is free again. It takes at most 9 s and
// needs no context: it is what happens when that is over.
func (s *session) interrupt() bool {
	ctx := context.Background()
	for _, key := range []byte{ctrlC, ctrlBackslash} {
		by := time.Now().Add(2 * time.Second)
		if s.in.send(ctx, []byte{key}, by) != nil {
			return false
		}
		for {
			ev, err := s.wait(ctx, by, "ef")
			if err == nil {
				s.settle(ctx, ev)
				return true
			}
			if errors.Is(err, errDeadline) {
				break
			}
			if errors.Is(err, errs.ErrState) {
				return false
			}
			if s.o.Stdout == io.Discard {
				return false
			}
			s.o.Stdout = io.Discard // nobody takes the output any more, yet its end matters
		}
	}
	// What ignores both seldom ignores being stopped; then the shell prompts and can kill the whole job.
	s.o.Stdout.Write(s.p.finish())
	s.o.Stdout = io.Discard
	s.in.send(ctx, []byte{ctrlZ}, time.Now().Add(time.Second))
	sleep(ctx, 300*time.Millisecond)
	by := time.Now().Add(3 * time.Second)
	if s.in.send(ctx, []byte(" kill -9 %%; stty sane;"+s.n.syncLine()), by) != nil {
		return false
	}
	_, err := s.wait(ctx, by, "s")
	return err == nil
}

// unfinished reports whether the last Exec in this VM ended without knowing that the shell is free again.
func (s *session) unfinished() bool {
	info, err := s.turn.Stat()
	return err == nil && info.Size() > 0
}

func (s *session) setUnfinished(on bool) {
	size := int64(0)
	if on {
		size = 1
	}
	s.turn.Truncate(size) // without it only a little comfort is lost
}

func (s *session) unlock() {
	if s.unlockInput != nil {
		s.unlockInput()
		s.unlockInput = nil
	}
}
