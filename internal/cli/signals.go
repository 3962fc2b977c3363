package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// secondSignal is within which time a second SIGINT ends noid at once.
const secondSignal = 2 * time.Second

// ignored are the signals that noid was started to ignore: SIGHUP by nohup, SIGINT and SIGQUIT by a script's &.
var ignored = func() map[os.Signal]bool {
	m := map[os.Signal]bool{}
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		m[s] = signal.Ignored(s)
	}
	return m
}()

// heeded leaves out of list what noid was started to ignore.
func heeded(list ...os.Signal) []os.Signal {
	return slices.DeleteFunc(list, func(s os.Signal) bool { return ignored[s] })
}

// forwarder turns noid's signals into those of a guest's command.
type forwarder struct {
	out    chan int // the command's
	begun  atomic.Bool
	over   chan struct{} // the command has ended
	once   sync.Once
	tty    bool
	detach bool
	stop   func()
	cancel context.CancelCauseFunc
	ctx    context.Context
}

// forwardSignals forwards signals from begin on. Until then, and always with detach, any of them ends ctx.
func (a *app) forwardSignals(ctx context.Context, cancel context.CancelCauseFunc, tty, detach bool) *forwarder {
	f := &forwarder{out: make(chan int), over: make(chan struct{}), tty: tty, detach: detach, ctx: ctx, cancel: cancel}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, heeded(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)...)
	f.stop = func() { signal.Stop(signals) }
	go f.run(signals)
	return f
}

// begin says that the command runs.
func (f *forwarder) begin() {
	if !f.detach {
		signal.Ignore(syscall.SIGPIPE) // a reader that leaves is an error of Write, after which a terminal is still put right
		f.begun.Store(true)
	}
}

// end says that the command has ended: signals end ctx again.
func (f *forwarder) end() { f.once.Do(func() { close(f.over) }) }

// run forwards. Any signal within 2 s of a SIGINT, and a second SIGTERM, ends ctx. So does, with a terminal, any other
// than SIGINT: a shell there ignores SIGTERM, and its terminal is gone.
func (f *forwarder) run(signals <-chan os.Signal) {
	var last time.Time // of a SIGINT
	terminated := false
	for {
		select {
		case <-f.ctx.Done():
			return
		case sig := <-signals:
			n, _ := sig.(syscall.Signal)
			again := !last.IsZero() && time.Since(last) < secondSignal || terminated && n == syscall.SIGTERM
			if !f.begun.Load() || again || f.tty && n != syscall.SIGINT {
				f.cancel(fmt.Errorf("%w: %v", context.Canceled, n))
				return
			}
			if n == syscall.SIGINT {
				last = time.Now()
			}
			terminated = terminated || n == syscall.SIGTERM
			select {
			case f.out <- int(n):
			case <-f.over:
				f.cancel(fmt.Errorf("%w: %v", context.Canceled, n))
				return
			case <-f.ctx.Done():
				return
			}
		}
	}
}
