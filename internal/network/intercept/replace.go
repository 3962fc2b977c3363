package intercept

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// replacer puts new texts for old ones into a stream. Where two old ones begin at the same place, the longer counts.
type replacer struct {
	pairs [][2]string
	held  []byte         // the end of what came, which may be the beginning of an old text
	hits  []atomic.Int64 // how often each pair was found
}

func newReplacer(pairs [][2]string) *replacer {
	return &replacer{pairs: pairs, hits: make([]atomic.Int64, len(pairs))}
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
	pos := 0
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
		out = append(append(out, text[pos:at[best]]...), r.pairs[best][1]...)
		pos = at[best] + len(r.pairs[best][0])
		r.hits[best].Add(1)
	}
	end := len(text)
	if !last {
		end -= r.undecided(text[pos:])
	}
	r.held = bytes.Clone(text[end:])
	if out == nil {
		return text[:end] // most streams have nothing to replace
	}
	return append(out, text[pos:end]...)
}

func index(text []byte, old string, from int) int {
	if n := bytes.Index(text[from:], []byte(old)); n >= 0 {
		return from + n
	}
	return -1
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
	return string(newReplacer(pairs).feed([]byte(text), true))
}

const (
	// A stream may pause in the middle of what looks like the beginning of an old text. Then it goes on as it is: after
	// shortHold if fewer than certain bytes look so, which happens by chance, else after longHold.
	shortHold = 20 * time.Millisecond
	longHold  = 2 * time.Second
	certain   = 8
)

// body is a body or an upgraded connection whose bytes go through a replacer.
type body struct {
	src   io.ReadCloser
	r     *replacer
	atEnd func() // called once before the first io.EOF, unless nil

	buf     []byte
	out     []byte
	err     error
	pending chan read // a read of src that is under way, or nil
}

type read struct {
	n   int
	err error
}

func newBody(src io.ReadCloser, pairs [][2]string) *body {
	return &body{src: src, r: newReplacer(pairs), buf: make([]byte, 16<<10)}
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
	if len(b.r.held) == 0 && b.pending == nil {
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
	if len(b.r.held) > 0 {
		hold := shortHold
		if len(b.r.held) >= certain {
			hold = longHold
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
		b.out = b.r.feed(nil, true)
	}
}

func (b *body) take(n int, err error) {
	b.out = b.r.feed(b.buf[:n], err != nil)
	if b.err = err; err == io.EOF && b.atEnd != nil {
		b.atEnd()
	}
}
