package vm

import (
	"context"
	"io"

	"noid/internal/console"
)

// Attach connects in and out to the serial console of name until the input ends, detaches with Ctrl+Q, or the VM is gone; noid's
// own messages go to messages. See console.Attach.
func (m *Manager) Attach(ctx context.Context, name string, in io.Reader, out, messages io.Writer) error {
	s, err := m.surelyRunning(ctx, name, "console")
	if err != nil {
		return err
	}
	if err := s.spoilTemplate(ctx); err != nil {
		return err
	}
	return console.Attach(ctx, s.dir, console.AttachOptions{In: in, Out: out, Err: messages, Alive: s.vm.Process.Alive})
}
