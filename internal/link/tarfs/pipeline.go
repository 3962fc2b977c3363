package tarfs

import (
	"context"
	"io"
)

// pipeline reads ahead in a goroutine, so that reading and writing overlap and a cancelled context ends a Read at once: the
// file being written is then removed, whatever the other side does. A Read of the source that never returns keeps the
// goroutine, two buffers and nothing else.
type pipeline struct {
	ctx    context.Context
	full   chan chunk
	free   chan []byte
	quit   chan struct{}
	buf    []byte // to be given back
	unread []byte
	err    error
}

type chunk struct {
	data []byte
	err  error
}

func newPipeline(ctx context.Context, r io.Reader) *pipeline {
	p := &pipeline{ctx: ctx, full: make(chan chunk, 2), free: make(chan []byte, 2), quit: make(chan struct{})}
	for range cap(p.free) {
		p.free <- make([]byte, 128<<10)
	}
	go func() {
		for {
			select {
			case buf := <-p.free:
				n, err := r.Read(buf)
				p.full <- chunk{buf[:n], err} // never blocks: there are as many places as buffers
				if err != nil {
					return
				}
			case <-p.quit:
				return
			}
		}
	}()
	return p
}

// Read implements io.Reader.
func (p *pipeline) Read(b []byte) (int, error) {
	for len(p.unread) == 0 {
		if err := p.ctx.Err(); err != nil {
			return 0, err
		}
		if p.err != nil {
			return 0, p.err
		}
		if p.buf != nil {
			p.free <- p.buf[:cap(p.buf)]
			p.buf = nil
		}
		select {
		case c := <-p.full:
			p.buf, p.unread, p.err = c.data, c.data, c.err
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		}
	}
	n := copy(b, p.unread)
	p.unread = p.unread[n:]
	return n, nil
}

func (p *pipeline) stop() { close(p.quit) }
