package cli

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// progress shows on a terminal how much was copied, when that takes more than a second.
type progress struct {
	w     io.Writer
	mu    sync.Mutex
	bytes atomic.Int64
	shown bool
	quit  chan struct{}
	once  sync.Once
}

// newProgress starts it. Without on, it counts only. stop ends it.
func newProgress(w io.Writer, on bool) *progress {
	p := &progress{w: w, quit: make(chan struct{})}
	if on {
		go p.watch()
	}
	return p
}

func (p *progress) watch() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
			p.mu.Lock()
			select {
			case <-p.quit:
			default:
				p.shown = true
				fmt.Fprintf(p.w, "\r\x1b[K%.1f MiB copied", float64(p.bytes.Load())/(1<<20))
			}
			p.mu.Unlock()
		}
	}
}

// add counts n bytes more.
func (p *progress) add(n int) { p.bytes.Add(int64(n)) }

// say prints a line.
func (p *progress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintln(p.w, line)
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) stop() {
	p.once.Do(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		close(p.quit)
		p.clear()
	})
}
