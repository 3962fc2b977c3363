package agent

// ring is a window onto a byte stream: the bytes from offset start up to offset end. It grows by doubling as bytes come
// in; whoever appends keeps it inside a bound.
type ring struct {
	buf        []byte // its length is 0 or a power of two
	start, end uint64
	peak       int // the most that it held since relax found it empty
}

const minRing = 4 << 10

func (r *ring) size() int { return int(r.end - r.start) }

// append adds p at the end.
func (r *ring) append(p []byte) {
	if need := r.size() + len(p); need > len(r.buf) {
		n := max(len(r.buf), minRing)
		for n < need {
			n *= 2
		}
		r.move(n)
	}
	for len(p) > 0 {
		n := copy(r.buf[r.index(r.end):], p)
		p, r.end = p[n:], r.end+uint64(n)
	}
	r.peak = max(r.peak, r.size())
}

// move puts the content into a buffer of n bytes.
func (r *ring) move(n int) {
	next := ring{buf: make([]byte, n), start: r.start, end: r.start, peak: r.peak}
	for next.end < r.end {
		p := r.peek(next.end, r.size())
		next.end += uint64(copy(next.buf[next.index(next.end):], p))
	}
	*r = next
}

// peek returns at most n bytes from offset on, fewer where the buffer wraps. They are valid until the next append or
// drop.
func (r *ring) peek(offset uint64, n int) []byte {
	n = min(n, int(r.end-offset))
	if n <= 0 {
		return nil
	}
	i := r.index(offset)
	return r.buf[i:min(i+n, len(r.buf))]
}

// drop forgets everything before offset.
func (r *ring) drop(offset uint64) {
	r.start = min(max(r.start, offset), r.end)
}

// release gives the buffer back if it is empty.
func (r *ring) release() {
	if r.size() == 0 {
		r.buf, r.peak = nil, 0
	}
}

// relax gives the buffer back if it is empty and less than an eighth of it was needed since it last was: a stream that
// flows empties it all the time, and to grow another each time costs more than all else.
func (r *ring) relax() {
	if r.size() > 0 {
		return
	}
	if r.peak < len(r.buf)/8 {
		r.buf = nil
	}
	r.peak = 0
}

func (r *ring) index(offset uint64) int { return int(offset & uint64(len(r.buf)-1)) }
