package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"noid/internal/link/tarfs"
	"noid/internal/untrusted"
)

// toolErrors takes what a guest's tool writes to standard error: lines that begin with tarfs's prefixes. It holds one line.
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

// count returns w with its bytes counted.
func (p *progress) count(w io.Writer) io.Writer { return countWriter{w, &p.bytes} }

type countWriter struct {
	io.Writer
	n *atomic.Int64
}

func (c countWriter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n.Add(int64(n))
	return n, err
}
