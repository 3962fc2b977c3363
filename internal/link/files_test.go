package link

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"noid/internal/errs"
	"noid/internal/link/wire"
)

// TestTooManyOpenFiles: a process that may open no more files is told so, and does not try for ever.
func TestTooManyOpenFiles(t *testing.T) {
	c := &Client{Dial: func(context.Context) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("socket", syscall.EMFILE)}
	}}
	_, err := c.Exec(t.Context(), wire.Exec{Argv: argv("true")}, Streams{})
	for what, err := range map[string]error{"exec": err, "wait": c.Wait(t.Context())} {
		if !errors.Is(err, errs.ErrHost) || !errors.Is(err, syscall.EMFILE) || errs.Hint(err) == "" {
			t.Errorf("%s: %v, hint %q", what, err, errs.Hint(err))
		}
	}
}
