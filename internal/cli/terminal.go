package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"noid/internal/vm"
)

// terminal is the one that a guest's command is shown on.
type terminal struct {
	in, screen int // descriptors
	resize     chan vm.Size
}

// newTerminal watches the size of this process's terminal until ctx ends.
func newTerminal(ctx context.Context) *terminal {
	t := &terminal{in: int(os.Stdin.Fd()), screen: int(os.Stdout.Fd()), resize: make(chan vm.Size)}
	if !term.IsTerminal(t.screen) {
		t.screen = t.in
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		defer signal.Stop(changed)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			if n := t.size(); n != nil {
				select {
				case t.resize <- *n:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return t
}

// size is the terminal's, or nil.
func (t *terminal) size() *vm.Size {
	cols, rows, err := term.GetSize(t.screen)
	if err != nil || cols <= 0 || rows <= 0 || cols > 0xffff || rows > 0xffff {
		return nil
	}
	return &vm.Size{Rows: uint16(rows), Cols: uint16(cols)}
}

// raw puts the terminal into raw mode. restore puts it right again; it may be called more than once.
func (t *terminal) raw() (restore func(), err error) {
	old, err := term.MakeRaw(t.in)
	if err != nil {
		return func() {}, fmt.Errorf("setting up the terminal: %w", err)
	}
	return func() { term.Restore(t.in, old) }, nil
}
