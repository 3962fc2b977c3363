package mux

import (
	"bytes"
	"testing"
)

// FuzzScan escapes data, splits it at every place the input says, and looks that it comes out as it was, and that a
// resynchronisation behind any beginning of it is found.
func FuzzScan(f *testing.F) {
	m := string(marker[:])
	for _, seed := range []string{"", "plain", m, m + m, m + "\x00", m[:7] + m, m + "\x01" + m, m[:14] + m[:1] + m} {
		f.Add([]byte(seed), uint8(3), uint8(40))
	}
	f.Fuzz(func(t *testing.T, data []byte, step, cut uint8) {
		size := int(step)%17 + 1
		var stream []byte
		for p := data; len(p) > 0; {
			n := min(size, len(p))
			if len(p)%3 == 0 { // several pieces in one
				n = min(5*size, len(p))
			}
			stream, p = escape(stream, p[:n]), p[n:]
		}
		var got []byte
		scan := func(s *scanner, p []byte, sync func(nonce)) {
			for ; len(p) > 0; p = p[min(size, len(p)):] {
				s.scan(p[:min(size, len(p))], resync, func(b []byte) { got = append(got, b...) }, sync)
			}
		}
		var s scanner
		scan(&s, stream, func(nonce) { t.Fatal("a resynchronisation that nobody sent") })
		if !bytes.Equal(got, data) {
			t.Fatalf("%q came out as %q", data, got)
		}
		// A host that died anywhere, in a resynchronisation too, then one that asks and sends the data.
		n := newNonce()
		begun := append(stream[:len(stream):len(stream)], message(resync, newNonce())...)
		var cutScan scanner
		var last nonce
		scan(&cutScan, begun[:int(cut)%(len(begun)+1)], func(nonce) {})
		scan(&cutScan, message(resync, n), func(k nonce) { last = k; got = nil })
		if last != n {
			t.Fatalf("cut at %d: the resynchronisation was not found", cut)
		}
		scan(&cutScan, stream, func(nonce) { t.Fatal("a resynchronisation that nobody sent") })
		if !bytes.Equal(got, data) {
			t.Fatalf("after the resynchronisation %q came out as %q", data, got)
		}
	})
}

// TestNonce sees, as FuzzScan did once, that a nonce never holds back the data behind it.
func TestNonce(t *testing.T) {
	for range 4096 {
		var s scanner
		var got []byte
		stream := escape(message(resync, newNonce()), marker[1:2])
		s.scan(stream, resync, func(b []byte) { got = append(got, b...) }, func(nonce) { got = nil })
		if !bytes.Equal(got, marker[1:2]) {
			t.Fatalf("%q behind a nonce came out as %q", marker[1:2], got)
		}
	}
}

// FuzzListen gives the guest's end bytes as a hostile or broken host might: it must neither panic nor miss the host
// after.
func FuzzListen(f *testing.F) {
	f.Add([]byte("x"))
	f.Add(message(resync, nonce{}))
	f.Add(append(message(resync, nonce{}), 0, 2, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0))
	f.Add(append(message(resync, nonce{}), 0, 0)) // half a header
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 16<<10 { // more than a pipe holds would wait for a reader
			return
		}
		p := newTestPort(t)
		bad := p.host(t)
		bad.Write(data)
		bad.Close()
		echoGuest(t, p)
		if err := roundTrip(open(t, connect(t, p)), bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzConnect gives the host's end bytes as a hostile guest might, before its answer and after it.
func FuzzConnect(f *testing.F) {
	f.Add([]byte("x"), []byte("y"))
	f.Add(message(synced, nonce{}), []byte{0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0})
	f.Add(marker[:9], []byte{0, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, before, after []byte) {
		if len(before)+len(after) > 32<<10 {
			return
		}
		p := newTestPort(t)
		guest := p.guest()
		go func() {
			guest.Write(before)
			var s scanner
			buf := make([]byte, 4096)
			for {
				n, err := guest.Read(buf)
				if err != nil {
					return
				}
				s.scan(buf[:n], resync, func([]byte) {}, func(n nonce) { guest.Write(append(message(synced, n), after...)) })
			}
		}()
		s := connect(t, p)
		if c, err := s.Open(); err == nil {
			c.Write([]byte("hello"))
			c.Close()
		}
		s.Close()
	})
}
