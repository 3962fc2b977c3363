package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// DetachKey is Ctrl+Q, which ends Attach and leaves the VM running.
const DetachKey = 0x11

// quietAfter is how long the console must be silent, once piped input has been written, before Attach ends.
const quietAfter = 2 * time.Second

// AttachOptions are Attach's settings. In, Out and Err are required.
type AttachOptions struct {
	In  io.Reader
	Out io.Writer // gets the console's bytes as the guest wrote them
	Err io.Writer // gets noid's own messages
	// Terminal, if In is a terminal, puts it into raw mode, and restore puts it right again, whatever ends Attach. Nil:
	// In is no terminal.
	Terminal func() (restore func(), err error)
	// Alive says whether the VMM is still there; nil asks whether a process reads serial.in.
	Alive func() bool
	// LockDir is where input.lock is; "" means the VM's directory.
	LockDir string
}

// Attach connects In and Out to the serial console of the VM in dir, until DetachKey is typed or the VM is gone. Input
// that is no terminal's is typed as fast as the guest reads it, and Attach ends when the console has then been silent
// for 2 s.
//
// All of these are nil; that the VM is gone is a line on Err. A VM that was not running is errs.ErrState. When ctx ends
// Attach returns its cause.
func Attach(ctx context.Context, dir string, o AttachOptions) error {
	defaults(dir, &o.LockDir, &o.Alive)
	in, log, err := open(dir)
	if err != nil {
		return err
	}
	defer in.Close()
	defer log.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	a := &attachment{o: o, in: in, log: log, terminal: o.Terminal != nil, keys: make(chan []byte, 64), detach: make(chan struct{})}
	eol := "\n"
	_, isFile := o.In.(*os.File)
	if a.terminal {
		restore, err := o.Terminal()
		if err != nil {
			return fmt.Errorf("preparing the terminal: %w", err)
		}
		defer restore() // also while a panic unwinds
		eol = "\r\n"
	}
	prompt, err := log.lastLine(4096)
	if err != nil {
		return fmt.Errorf("reading the console's log: %w", err)
	}
	if _, err := o.Out.Write(prompt); err != nil {
		return err
	}
	if a.terminal && len(prompt) == 0 {
		a.keys <- []byte("\n") // the shell answers with its prompt
	}
	read := make(chan struct{})
	go func() { a.readKeys(ctx); close(read) }()
	typed := make(chan error, 1)
	idle := make(chan struct{})
	go func() { typed <- a.typeKeys(ctx); close(idle) }()
	defer func() { // nobody uses the FIFO or In after this; only a Reader that is no file cannot be woken
		cancel()
		<-idle
		if isFile {
			<-read
		}
	}()

	switch err := a.follow(ctx, typed); {
	case errors.Is(err, errDetached):
		fmt.Fprintf(o.Err, "%sdetached, VM keeps running%s", eol, eol)
	case errors.Is(err, errGone):
		fmt.Fprintf(o.Err, "%sthe VM is gone%s", eol, eol)
	default:
		return err
	}
	return nil
}

var errDetached = errors.New("detached")

type attachment struct {
	o        AttachOptions
	in       *input
	log      *tail
	terminal bool
	keys     chan []byte   // what was typed; closed at the end of input
	detach   chan struct{} // closed when DetachKey was read
}

// readKeys reads In into keys until it ends, DetachKey comes or ctx ends. It reads a file only when there is something
// to read, so that it takes no key meant for whoever has the terminal next.
func (a *attachment) readKeys(ctx context.Context) {
	defer close(a.keys)
	file, isFile := a.o.In.(*os.File)
	buf := make([]byte, 1024)
	for ctx.Err() == nil {
		if isFile {
			fds := []unix.PollFd{{Fd: int32(file.Fd()), Events: unix.POLLIN}}
			if n, _ := unix.Poll(fds, 50); n <= 0 {
				continue
			}
		}
		n, err := a.o.In.Read(buf)
		data := buf[:n]
		i := bytes.IndexByte(data, DetachKey)
		if i >= 0 {
			data = data[:i]
		}
		if len(data) > 0 && !a.push(ctx, bytes.Clone(data)) {
			return
		}
		if i >= 0 {
			close(a.detach)
			return
		}
		if err != nil {
			return
		}
	}
}

// push hands data on. A pipe waits for its turn; at a terminal of a guest that does not read, further keys are dropped
// with a bell, or DetachKey would never be seen.
func (a *attachment) push(ctx context.Context, data []byte) bool {
	if a.terminal {
		select {
		case a.keys <- data:
		default:
			a.o.Err.Write([]byte("\a"))
		}
		return true
	}
	select {
	case a.keys <- data:
		return true
	case <-ctx.Done():
		return false
	}
}

// typeKeys types what comes from keys until they end. Piped input waits for the VMM to take each piece, which is all
// the flow control there is: the guest's kernel drops what a busy reader lets pile up beyond some 64 KB.
func (a *attachment) typeKeys(ctx context.Context) error {
	for {
		var data []byte
		select {
		case next, more := <-a.keys:
			if !more {
				return nil
			}
			data = next
		case <-ctx.Done():
			return ctx.Err()
		}
		unlock, err := LockInput(ctx, a.o.LockDir)
		if err != nil {
			return err
		}
		err = a.in.send(ctx, data, time.Time{})
		unlock()
		if err != nil {
			return err
		}
		for !a.terminal && a.in.pending() > 0 {
			if !a.o.Alive() {
				return errGone
			}
			if err := sleep(ctx, pollMin); err != nil {
				return err
			}
		}
	}
}

// follow copies the log to Out until something ends the attachment.
func (a *attachment) follow(ctx context.Context, typed <-chan error) error {
	buf := make([]byte, 32<<10)
	var p pace
	lastNew := time.Now()
	var ended, detached bool
	detach := a.detach
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-detach:
			if a.terminal {
				return errDetached
			}
			detach, detached = nil, true // type first what came before it
		case err := <-typed:
			if errors.Is(err, errs.ErrState) || errors.Is(err, errGone) {
				p.dead = true
			} else if err != nil {
				return err
			}
			ended, typed, lastNew = true, nil, time.Now()
		default:
		}
		if ended && !p.dead && (detached || a.terminal) { // a terminal's input ends when it is hung up
			return errDetached
		}
		n, err := a.log.read(buf)
		if err != nil {
			return fmt.Errorf("reading the console's log: %w", err)
		}
		if n > 0 {
			if _, err := a.o.Out.Write(buf[:n]); err != nil {
				return err
			}
			p.pause, lastNew = 0, time.Now()
			continue
		}
		if ended && !a.terminal && !p.dead && time.Since(lastNew) > quietAfter {
			return nil
		}
		if err := p.wait(ctx, a.o.Alive); err == errGone {
			return err
		} else if err != nil {
			return context.Cause(ctx)
		}
	}
}
