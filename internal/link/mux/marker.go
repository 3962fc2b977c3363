package mux

import (
	"bytes"
	"crypto/rand"
)

const (
	markerLen = 15
	nonceLen  = 16

	escaped = 0x00 // behind a marker: it was data
	resync  = 0x01 // behind a marker: a nonce follows, the session before is over
	synced  = 0x02 // behind a marker: a nonce follows, a fresh session begins
	nothing = 0x03 // behind a marker: what came before it was data to its end
	begun   = 0x04 // behind a marker: the guest knows of no session
)

// mask hides the marker: in plain it would be found in this very binary when that is copied through a connection, and
// each find costs a byte.
const mask = 0xa7

// marker is chosen at random. Its first byte occurs in it once, so a failed match never hides the beginning of another.
var marker = unmask([markerLen]byte{0x31, 0x6e, 0x9c, 0xf4, 0x0b, 0xd2, 0x57, 0x88, 0xe3, 0x1d, 0xb6, 0x40, 0xca, 0x79, 0x25})

func unmask(m [markerLen]byte) [markerLen]byte {
	for i := range m {
		m[i] ^= mask
	}
	return m
}

// skip is how far ahead of a byte of the data the next possible end of a marker is (Horspool's search): all bytes pass
// here, and a search for the marker's first byte takes an emulated processor six times as long.
var skip = func() (s [256]uint8) {
	for i := range s {
		s[i] = markerLen
	}
	for i, c := range marker[:markerLen-1] {
		s[c] = uint8(markerLen - 1 - i)
	}
	return s
}()

type nonce [nonceLen]byte

// newNonce returns a random nonce in which no marker begins: data behind one that ended like the beginning of a marker
// would be held back for the marker's rest.
func newNonce() (n nonce) {
	rand.Read(n[:]) // it never fails, crypto/rand says
	for i := range n {
		if n[i] == marker[0] {
			n[i]++
		}
	}
	return n
}

// message returns a marker, its kind and n.
func message(kind byte, n nonce) []byte {
	return append(append(append(make([]byte, 0, markerLen+1+nonceLen), marker[:]...), kind), n[:]...)
}

// escape appends p to b, an escaped behind each marker. Behind the beginning of a marker at the end of p it appends
// what makes the other side give that out, whatever follows.
func escape(b, p []byte) []byte {
	for {
		i := begin(p)
		end := min(i+markerLen, len(p))
		b = append(b, p[:end]...)
		switch {
		case i+markerLen <= len(p):
			b = append(b, escaped)
		case i < len(p):
			return append(append(b, marker[:]...), nothing)
		default:
			return b
		}
		p = p[end:]
	}
}

// begin returns where in p a marker begins, a whole one or one that p cuts off; len(p) for nowhere.
func begin(p []byte) int {
	for i := markerLen - 1; i < len(p); i += int(skip[p[i]]) {
		if p[i] == marker[markerLen-1] && bytes.HasSuffix(p[:i+1], marker[:]) {
			return i + 1 - markerLen
		}
	}
	for n := min(markerLen-1, len(p)); n > 0; n-- {
		if bytes.HasSuffix(p, marker[:n]) {
			return len(p) - n
		}
	}
	return len(p)
}

// scanner takes an escaped stream apart. It finds a resynchronisation wherever it stands: in the middle of data, of a
// marker, of another's nonce, as a client that died left the stream.
type scanner struct {
	matched int  // bytes of the marker that came last
	held    int  // how many of those would be data
	whole   bool // a marker is complete: the next byte says what it means
	want    int  // bytes of the nonce that are still to come
	nonce   nonce
}

// scan calls data for what is data, in order, and sync for each message of the given kind. The slices are p's own or
// the marker's.
func (s *scanner) scan(p []byte, kind byte, data func([]byte), sync func(nonce)) {
	for len(p) > 0 {
		c := p[0]
		switch {
		case s.whole && c == kind:
			s.whole, s.held, s.want = false, 0, nonceLen
			p = p[1:]
		case s.whole && c == escaped && kind == resync:
			s.whole = false
			data(marker[:])
			p = p[1:]
		case s.whole && c == nothing && kind == resync:
			s.whole = false
			p = p[1:]
		case s.whole: // cut short by whoever sent it
			s.whole = false
		case s.matched > 0 && c != marker[s.matched]:
			if s.held > 0 {
				data(marker[s.matched-s.held : s.matched])
			}
			s.matched, s.held = 0, 0
		case s.want > 0:
			p = p[1:]
			s.nonce[nonceLen-s.want] = c
			s.want--
			if s.match(c); !s.whole && s.want == 0 {
				sync(s.nonce)
			}
		case s.matched > 0:
			p = p[1:]
			s.held++
			s.match(c)
		default:
			i := begin(p)
			if i > 0 {
				data(p[:i])
			}
			if p = p[i:]; len(p) > 0 {
				p = p[1:]
				s.held++
				s.match(marker[0])
			}
		}
	}
}

// match counts c, which the caller found to go on with a match or not to be in one.
func (s *scanner) match(c byte) {
	if c != marker[s.matched] {
		return
	}
	if s.matched++; s.matched == markerLen {
		s.matched, s.held, s.whole, s.want = 0, 0, true, 0
	}
}
