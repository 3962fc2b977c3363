package flatten

import "io"

// ahead reads a stream before it is asked for: a layer is decompressed while files are written.
type ahead struct {
	full chan []byte // what was read; closed at the end
	free chan []byte
	stop chan struct{}
	err  error // how the stream ended, once full is closed
	last []byte
	rest []byte // of last
}

const (
	aheadBuffers = 4
	aheadBuffer  = 256 << 10
	firstBuffer  = 64 << 10 // what is shorter is read at once
)

// readAhead reads r until its end or Close.
func readAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan []byte, aheadBuffers+1), free: make(chan []byte, aheadBuffers+1), stop: make(chan struct{})}
	if a.fill(r, make([]byte, firstBuffer)) {
		go a.run(r)
	} else {
		close(a.full)
	}
	return a
}

func (a *ahead) run(r io.Reader) {
	defer close(a.full)
	for range aheadBuffers {
		a.free <- make([]byte, aheadBuffer)
	}
	for {
		select {
		case <-a.stop:
			return
		case buf := <-a.free:
			if !a.fill(r, buf) {
				return
			}
		}
	}
}

// fill reads into buf what there is, and tells whether there is more.
func (a *ahead) fill(r io.Reader, buf []byte) bool {
	n := 0
	for n < len(buf) && a.err == nil { // a decompressor gives little at once
		var more int
		more, a.err = r.Read(buf[n:])
		n += more
	}
	a.full <- buf[:n] // it has room for all
	return a.err == nil
}

func (a *ahead) Read(b []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.last != nil {
			a.free <- a.last[:cap(a.last)]
			a.last = nil
		}
		last, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.last, a.rest = last, last
	}
	n := copy(b, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close waits until r is read no more.
func (a *ahead) Close() {
	close(a.stop)
	for range a.full {
	}
}
