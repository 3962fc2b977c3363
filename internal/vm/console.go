package vm

import (
	"context"
	"fmt"
	"io"
	"os"

	"noid/internal/console"
)

// ConsoleStreams are what Console connects to a serial console.
type ConsoleStreams struct {
	In       io.Reader
	Out      io.Writer // gets the console's bytes as the guest wrote them
	Messages io.Writer // gets noid's own lines
	// Terminal, if In is a terminal, puts it into raw mode once the console is there; restore puts it right again.
	Terminal func() (restore func(), err error)
}

// Console connects c to the serial console of name until Ctrl+Q is typed, the input ends, the VM is gone or ctx ends.
// See console.Attach.
func (m *Manager) Console(ctx context.Context, name string, c ConsoleStreams) error {
	s, err := m.surelyRunning(ctx, name, "console")
	if err != nil {
		return err
	}
	if err := s.spoilTemplate(ctx); err != nil {
		return err
	}
	if err := s.beforeChange(ctx, "(console)"); err != nil {
		return err
	}
	here, err := os.Open(s.dir) // the VM may be renamed meanwhile
	if err != nil {
		return err
	}
	defer here.Close()
	defer s.touchStill()
	return console.Attach(ctx, s.dir, console.AttachOptions{In: c.In, Out: c.Out, Err: c.Messages, Terminal: c.Terminal, Alive: s.vm.Process.Alive,
		LockDir: fmt.Sprintf("/proc/self/fd/%d", here.Fd())})
}
