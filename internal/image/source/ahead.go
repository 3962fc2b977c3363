package source

import "io"

// How far an archive is unpacked ahead of its reader, who hashes and writes meanwhile: two MiB.
const (
	aheadBlock  = 512 << 10
	aheadBlocks = 4
)

// ahead reads r in a goroutine of its own.
type ahead struct {
	blocks chan block
	free   chan []byte // buffers that were read, or that nobody has needed yet
	stop   chan struct{}
	ended  chan struct{}
	now    block
	buf    []byte // now's whole buffer
}

// block is a part of the stream, and what followed it.
type block struct {
	data []byte
	err  error
}

func newAhead(r io.Reader) *ahead {
	a := &ahead{blocks: make(chan block, aheadBlocks), free: make(chan []byte, aheadBlocks), stop: make(chan struct{}), ended: make(chan struct{})}
	for range aheadBlocks {
		a.free <- nil
	}
	go a.run(r)
	return a
}

func (a *ahead) run(r io.Reader) {
	defer close(a.ended)
	for {
		var buf []byte
		select {
		case <-a.stop:
			return
		case buf = <-a.free:
		}
		if buf == nil {
			buf = make([]byte, aheadBlock)
		}
		b := block{}
		n := 0
		for n < len(buf) && b.err == nil {
			var m int
			m, b.err = r.Read(buf[n:])
			n += m
		}
		b.data = buf[:n]
		a.blocks <- b // there are as many places as buffers
		if b.err != nil {
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.now.data) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.buf != nil {
			a.free <- a.buf
		}
		a.now = <-a.blocks
		a.buf = a.now.data[:cap(a.now.data)]
	}
	n := copy(p, a.now.data)
	a.now.data = a.now.data[n:]
	return n, nil
}

// close ends the goroutine. A read of r that blocks must end too.
func (a *ahead) close() {
	close(a.stop)
	<-a.ended
}
