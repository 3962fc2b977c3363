package intercept

import (
	"bytes"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// replacer puts new texts for old ones into a stream. Where two old ones begin at the same place, the longer counts.
type replacer struct {
	pairs [][2]string
	masks bool           // the old texts must not pass, and the new ones are as long
	held  []byte         // the end of what came, which may be the beginning of an old text
	sent  int            // how many bytes of held are out already
	hits  []atomic.Int64 // how often each pair was found; nil: nobody counts
}

// feed takes the next bytes of the stream, and returns those that are decided, in chunk's own memory perhaps. With last,
// all are.
func (r *replacer) feed(chunk []byte, last bool) (out []byte) {
	text := chunk
	if len(r.held) > 0 {
		text = append(r.held, chunk...)
	}
	at := make([]int, len(r.pairs)) // where each pair is met next
	for i, p := range r.pairs {
		at[i] = index(text, p[0], 0)
	}
	pos, replaced := 0, false
	for {
		best := -1
		for i, p := range r.pairs {
			if at[i] >= 0 && at[i] < pos {
				at[i] = index(text, p[0], pos)
			}
			if at[i] >= 0 && (best < 0 || at[i] < at[best] || at[i] == at[best] && len(p[0]) > len(r.pairs[best][0])) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		// Of an old text whose beginning is out the rest of the new one follows.
		out = append(out, text[max(pos, r.sent):max(at[best], r.sent)]...)
		with := r.pairs[best][1]
		out = append(out, with[min(max(r.sent-at[best], 0), len(with)):]...)
		pos, replaced = at[best]+len(r.pairs[best][0]), true
		if r.hits != nil {
			r.hits[best].Add(1)
		}
	}
	end := len(text)
	if !last {
		end -= r.undecided(text[pos:])
	}
	from := max(pos, r.sent)
	rest := text[from:max(from, end)]
	r.held, r.sent = bytes.Clone(text[end:]), max(r.sent-end, 0)
	if !replaced {
		return rest // most streams have nothing to replace
	}
	return append(out, rest...)
}

func index(text []byte, old string, from int) int {
	if n := bytes.Index(text[from:], []byte(old)); n >= 0 {
		return from + n
	}
	return -1
}

// waits reports whether bytes are held that are not out.
func (r *replacer) waits() bool { return r.sent < len(r.held) }

// begun is what follows if what is held is the beginning of an old text, and whether it surely is.
func (r *replacer) begun() (with string, sure bool) {
	for _, p := range r.pairs {
		if !strings.HasPrefix(p[0], string(r.held)) {
			continue
		}
		known := 0 // bytes that both have, as tokens begin that everybody knows
		for r.masks && known < min(len(p[0]), len(p[1])) && p[0][known] == p[1][known] {
			known++
		}
		if with = p[1]; len(r.held)-known >= min(certain, len(p[0])/2) {
			return with, true
		}
	}
	return with, false
}

// release returns what is held when the stream has paused for too long. If that is the beginning of an old text that
// must not pass, it is the beginning of the new one. What comes next is looked at as if nothing had been released.
func (r *replacer) release() (out []byte) {
	if !r.masks {
		return r.feed(nil, true)
	}
	out = bytes.Clone(r.held[r.sent:])
	if with, sure := r.begun(); sure {
		out = []byte(with[r.sent:len(r.held)])
	}
	r.sent = len(r.held)
	return out
}

// undecided is how many bytes at the end of text may be the beginning of an old text.
func (r *replacer) undecided(text []byte) (n int) {
	for _, p := range r.pairs {
		for k := min(len(p[0])-1, len(text)); k > n; k-- {
			if text[len(text)-k] == p[0][0] && string(text[len(text)-k:]) == p[0][:k] {
				n = k
			}
		}
	}
	return n
}

// replaceAll is feed for a whole text.
func replaceAll(pairs [][2]string, text string) string {
	return string((&replacer{pairs: pairs}).feed([]byte(text), true))
}

const (
	// A stream may pause in the middle of what looks like the beginning of an old text. Then it goes on: after shortHold
	// if fewer than certain bytes look so, or half of the old text's, which happens by chance; else after longHold. A
	// guest can make such pauses by reading late. Its own requests wait for guestHold: of one that goes on as it is the
	// placeholder stays in it.
	shortHold = 20 * time.Millisecond
	guestHold = 200 * time.Millisecond
	longHold  = 2 * time.Second
	certain   = 8
)

// body is a body or an upgraded connection whose bytes go through a replacer.
type body struct {
	src   io.ReadCloser
	r     *replacer
	pairs func() [][2]string // of now; nil: they stay those of r
	atEnd func()             // called once before the first io.EOF, unless nil

	buf     []byte
	out     []byte
	err     error
	pending chan read // a read of src that is under way, or nil
}

type read struct {
	n   int
	err error
}

// newBody has old texts replaced in src, and counts them.
func newBody(src io.ReadCloser, pairs [][2]string) *body {
	return &body{src: src, r: &replacer{pairs: pairs, hits: make([]atomic.Int64, len(pairs))}, buf: make([]byte, 16<<10)}
}

// newMasked has nothing of the old texts pass.
func newMasked(src io.ReadCloser, pairs func() [][2]string) *body {
	return &body{src: src, r: &replacer{masks: true}, pairs: pairs, buf: make([]byte, 16<<10)}
}

func (b *body) Close() error { return b.src.Close() }

// Read returns what is decided as soon as it is.
func (b *body) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		b.fill()
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

func (b *body) fill() {
	if !b.r.waits() && b.pending == nil {
		b.take(b.src.Read(b.buf))
		return
	}
	if b.pending == nil {
		b.pending = make(chan read, 1)
		go func(done chan<- read) {
			n, err := b.src.Read(b.buf)
			done <- read{n, err}
		}(b.pending)
	}
	var expired <-chan time.Time
	if b.r.waits() {
		hold := shortHold
		if _, sure := b.r.begun(); sure {
			hold = longHold
		} else if !b.r.masks {
			hold = guestHold
		}
		timer := time.NewTimer(hold)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case got := <-b.pending:
		b.pending = nil
		b.take(got.n, got.err)
	case <-expired:
		b.out = b.r.release()
	}
}

func (b *body) take(n int, err error) {
	if b.pairs != nil {
		b.r.pairs = b.pairs()
	}
	b.out = b.r.feed(b.buf[:n], err != nil)
	if b.err = err; err == io.EOF && b.atEnd != nil {
		b.atEnd()
	}
}
