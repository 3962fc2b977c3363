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

// readAhead reads r until its end or Close.
func readAhead(r io.Reader) *ahead {
	const buffers, size = 4, 256 << 10
	a := &ahead{full: make(chan []byte, buffers), free: make(chan []byte, buffers), stop: make(chan struct{})}
	for range buffers {
		a.free <- make([]byte, size)
	}
	go a.fill(r)
	return a
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.full)
	for {
		select {
		case <-a.stop:
			return
		case buf := <-a.free:
			n, err := 0, error(nil)
			for more := 0; n < len(buf)/2 && err == nil; n += more { // a decompressor gives little at once
				more, err = r.Read(buf[n:])
			}
			a.full <- buf[:n] // it has room for all
			if err != nil {
				a.err = err
				return
			}
		}
	}
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
