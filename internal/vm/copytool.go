package vm

import (
	"bytes"
	"fmt"
	"strings"

	"noid/internal/errs"
	"noid/internal/link/files"
	"noid/internal/link/tarfs"
	"noid/internal/link/wire"
	"noid/internal/untrusted"
)

// toolEnded turns the end of a guest's tool into an error.
func (c *copying) toolEnded(name string, exit wire.Exit, said *toolErrors) error {
	said.flush()
	switch {
	case exit.Code == 0 && said.last == "":
		return nil
	case exit.Code == tarfs.ExitFailed && said.last == "" && said.warned:
		c.setPartial()
		return nil
	}
	text := said.last
	if text == "" {
		text = fmt.Sprintf("its tool ended with exit code %d %s", exit.Code, untrusted.Line(exit.Error, 200))
	}
	err := fmt.Errorf("vm %q: %s", name, strings.TrimSpace(text))
	switch exit.Code {
	case tarfs.ExitUsage:
		return errs.Mark(err, errs.ErrUsage)
	case tarfs.ExitNotFound:
		return errs.Mark(err, errs.ErrNotFound)
	case files.ExitExists:
		return errs.Mark(err, errs.ErrExists)
	case files.ExitState:
		return errs.Mark(err, errs.ErrState)
	case tarfs.ExitNoSpace:
		return errs.WithHint(errs.Mark(err, ErrGuestFull), "make room there, or copy to a larger file system")
	}
	if strings.Contains(text, "unknown argument") {
		return errs.WithHint(err, "its agent is that of an older noid: stop the vm and start it, and try again")
	}
	return err
}

func (c *copying) setPartial() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial = true
}

func (c *copying) count(s tarfs.Stats) {
	if s.Failed > 0 {
		c.setPartial()
	}
}

// warner returns what passes warnings on: the first ones, so that a guest cannot fill a log.
func (c *copying) warner(prefix string) func(string) {
	return func(s string) {
		c.mu.Lock()
		defer c.mu.Unlock() // two sides warn: Warn has one at a time
		c.warnings++
		n := c.warnings
		switch {
		case c.o.Warn == nil:
		case n < tarfs.MaxWarnings:
			c.o.Warn(prefix + untrusted.Line(s, tarfs.MaxLine))
		case n == tarfs.MaxWarnings:
			c.o.Warn("more warnings are not shown")
		}
	}
}

// toolErrors takes what a guest's tool writes to standard error: lines that begin with tarfs's prefixes. It holds one
// line.
type toolErrors struct {
	warn   func(string)
	line   []byte
	last   string // the error that ended it, fit for a terminal
	warned bool
}

// Write implements io.Writer. It never fails.
func (t *toolErrors) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte("\n"))
		room := max(tarfs.MaxLine+64-len(t.line), 0)
		t.line = append(t.line, part[:min(len(part), room)]...)
		b = rest
		if ended {
			t.flush()
		}
	}
	return n, nil
}

func (t *toolErrors) flush() {
	line := string(t.line)
	t.line = t.line[:0]
	if text, ok := strings.CutPrefix(line, tarfs.ErrorPrefix); ok {
		t.last = untrusted.Line(text, tarfs.MaxLine)
	} else if line != "" { // also what is no tool's, such as a Go runtime's last words
		t.warned = true
		t.warn(strings.TrimPrefix(line, tarfs.WarningPrefix))
	}
}
