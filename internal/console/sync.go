package console

import (
	"bytes"
	"context"
	"errors"
	"time"

	"noid/internal/errs"
	"noid/internal/lazy"
)

// Keys that the tty's line discipline acts on.
const (
	ctrlC         = 0x03
	ctrlU         = 0x15
	ctrlZ         = 0x1a
	ctrlBackslash = 0x1c
)

const (
	lineTail   = 256                     // how much of the unfinished last line is looked at
	retryAfter = time.Second             // before the shell is asked again
	retryMax   = 8 * time.Second         // and again: a slow boot echoes and answers all that was typed
	settled    = 50 * time.Millisecond   // without output: what looks like a prompt is one
	loginGrace = 1500 * time.Millisecond // that a login needs to answer
)

var (
	loginPrompt    = lazy.Regexp(`(?i)login: *$`)
	passwordPrompt = lazy.Regexp(`(?i)password: *$`)
	shellPrompt    = lazy.Regexp(`[#$] (\x1b\[[0-9;?]*[a-zA-Z])*$`) // busybox asks for the cursor's place behind it
	continuation   = lazy.Regexp(`^> (\x1b\[[0-9;?]*[a-zA-Z])*$`)
)

// remember keeps the end of the unfinished last line.
func (s *session) remember(data []byte) {
	if i := bytes.LastIndexByte(data, '\n'); i >= 0 {
		s.line, data = s.line[:0], data[i+1:]
	}
	s.line = append(s.line, data...)
	s.line = s.line[max(len(s.line)-lineTail, 0):]
}

// sync asks for the shell until it answers, and returns with input.lock held. Between two questions the lock is free.
// unfinished has it interrupt what an Exec before left behind.
func (s *session) sync(ctx context.Context, by time.Time, unfinished bool) error {
	last, err := s.log.lastLine(lineTail)
	if err != nil {
		return err
	}
	s.remember(append([]byte("\n"), last...))
	s.lastNew = time.Now()
	if len(last) > 0 {
		s.lastNew = time.Time{} // it has stood there for a while
	}
	var (
		asked    time.Time   // when something was last typed
		answered = int64(-1) // s.seen when the login prompt was
		asRoot   bool        // root was the last thing typed
		again    = retryAfter
	)
	for tries := 0; ; {
		if time.Now().After(by) {
			return errs.New(errs.ErrTimeout, "timed out waiting for a shell on the console: boot not finished, or no shell on the console").Hint("look at what it shows with noid logs or noid console")
		}
		quiet := time.Since(s.lastNew) > settled
		login, password := quiet && loginPrompt().Match(s.line), quiet && passwordPrompt().Match(s.line)
		var text string
		switch {
		case login && answered != s.seen:
			text, answered = "root\n", s.seen
		case login:
		case password && asRoot:
			return errs.New(errs.ErrState, "the guest's console wants a password").Hint("log in once with noid console, or give the guest a root shell on its console")
		case password && answered != s.seen: // a stray line of ours was taken for a name: get over it
			text, answered = "\n", s.seen
		case password:
		case asRoot && time.Since(asked) < loginGrace && !shellPrompt().Match(s.line):
		case asked.IsZero(),
			time.Since(asked) > again && s.in.pending() == 0,
			time.Since(asked) > 4*settled && quiet && s.lastNew.After(asked) && shellPrompt().Match(s.line):
			text = s.question(tries, unfinished)
			if tries++; tries > 1 {
				again = min(2*again, retryMax)
			}
		}
		if text != "" {
			s.unlock()
			if err := s.lock(ctx, by); err != nil {
				return err
			}
			err := s.in.send(ctx, []byte(text), time.Now().Add(retryAfter))
			if err != nil && !errors.Is(err, errs.ErrTimeout) { // a full FIFO: the guest is not there yet
				return err
			}
			asked, asRoot = time.Now(), text == "root\n"
		}
		pollBy := time.Now().Add(settled)
		if pollBy.After(by) {
			pollBy = by
		}
		_, err := s.wait(ctx, pollBy, "s")
		if err == nil {
			s.queue = nil // the answers to other questions
			return nil
		}
		if !errors.Is(err, errDeadline) {
			return err
		}
		if time.Since(asked) > retryAfter {
			s.unlock()
		}
	}
}

// question is what to type to get the shell's attention. Ctrl+U discards a half-typed line. Ctrl+C, which would end a
// program that a person left running there, is kept for what an Exec left behind and for a line that never ended.
func (s *session) question(tries int, unfinished bool) string {
	ask := string(rune(ctrlU)) + s.n.syncLine()
	switch {
	case unfinished && tries == 2:
		return string(rune(ctrlBackslash)) + ask
	case unfinished && tries == 0, continuation().Match(s.line):
		return string(rune(ctrlC)) + ask
	}
	return ask
}

func (s *session) lock(ctx context.Context, by time.Time) error {
	if s.unlockInput != nil {
		return nil
	}
	// A checkpoint holds it for as long as it takes, hence no less than a few seconds.
	if least := time.Now().Add(10 * time.Second); by.Before(least) {
		by = least
	}
	wait, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	unlock, err := LockInput(wait, s.o.LockDir)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return errs.New(errs.ErrBusy, "the console's input stays locked by another noid")
	}
	if err != nil {
		return err
	}
	s.unlockInput = unlock
	return nil
}
