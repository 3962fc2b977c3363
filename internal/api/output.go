package api

import (
	"sync"
	"unicode/utf8"
)

// Output keeps the beginning and the end of what a command writes to a stream: Keep bytes of each, and of the end up to
// twice that. Its methods may be called side by side.
type Output struct {
	Keep int

	mu         sync.Mutex
	head, tail []byte
	lost       int64 // bytes between them
}

// Write implements io.Writer. It never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(len(p), o.Keep-len(o.head))
	o.head = append(o.head, p[:n]...)
	o.tail = append(o.tail, p[n:]...)
	if over := len(o.tail) - 2*o.Keep; over > 0 { // seldom, so that a byte is moved once
		over += o.Keep
		o.lost += int64(over)
		o.tail = append(o.tail[:0], o.tail[over:]...)
	}
	return len(p), nil
}

// Total is how much was written, in bytes.
func (o *Output) Total() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(len(o.head)) + o.lost + int64(len(o.tail))
}

// Parts are copies of the beginning and the end of what was written, and how many bytes between them are not kept.
func (o *Output) Parts() (head, tail []byte, lost int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]byte{}, o.head...), append([]byte{}, o.tail...), o.lost
}

// TrimHalves is b without the halves of characters that a cut has left at its beginning and, with end set, at its end.
func TrimHalves(b []byte, end bool) []byte {
	for i := 0; i < utf8.UTFMax-1 && len(b) > 0 && !utf8.RuneStart(b[0]); i++ {
		b = b[1:]
	}
	if end {
		b = b[:len(b)-Half(b)]
	}
	return b
}

// Half is how many bytes at the end of b are the beginning of a character.
func Half(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return i
			}
			return 0
		}
	}
	return 0
}
