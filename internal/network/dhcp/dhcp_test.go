package dhcp

import (
	"bytes"
	"encoding/binary"
	"testing"

	"noid/internal/network/address"
)

// message is one of a client.
func message(kind byte, options ...byte) []byte {
	m := make([]byte, minLength)
	m[offOp], m[1], m[2] = bootRequest, ethernet, macLength
	copy(m[offXID:], "xid!")
	copy(m[offCHAddr:], address.GuestMAC[:])
	binary.BigEndian.PutUint32(m[offMagic:], magic)
	return append(append(append(m, optPad, optType, 1, kind), options...), optEnd)
}

func TestAnswer(t *testing.T) {
	guest := address.Guest4.Addr().AsSlice()
	wants := append([]byte{optRequested, 4}, guest...)
	for name, c := range map[string]struct {
		message []byte
		kind    byte
		address bool
	}{
		"discover":           {message(discover), offer, true},
		"request":            {message(request, wants...), ack, true},
		"request of another": {message(request, optRequested, 4, 192, 168, 0, 7), nak, false},
		"request of none":    {message(request), nak, false},
		"renewal": {func() []byte {
			m := message(request)
			copy(m[offCIAddr:], guest)
			return m
		}(), ack, true},
		"inform":         {message(inform), ack, false},
		"other server":   {message(request, append(wants, optServer, 4, 1, 2, 3, 4)...), 0, false},
		"release":        {message(7), 0, false},
		"too short":      {message(discover)[:200], 0, false},
		"no magic":       {make([]byte, 300), 0, false},
		"cut in options": {append(message(discover)[:minLength], optType, 9, 1), 0, false},
	} {
		out := Answer(c.message)
		if c.kind == 0 {
			if out != nil {
				t.Errorf("%s: answered %x", name, out)
			}
			continue
		}
		if len(out) < minLength || string(out[offXID:offXID+4]) != "xid!" || !bytes.Equal(out[offCHAddr:offCHAddr+6], address.GuestMAC[:]) {
			t.Fatalf("%s: %x", name, out)
		}
		got := parse(out[minLength:])
		if !bytes.Equal(got[optType], []byte{c.kind}) || !bytes.Equal(got[optServer], address.Gateway4.AsSlice()) {
			t.Errorf("%s: options %v, want type %d", name, got, c.kind)
		}
		if has := bytes.Equal(out[offYIAddr:offYIAddr+4], guest); has != c.address {
			t.Errorf("%s: has an address: %t", name, has)
		}
		if c.kind != nak && (!bytes.Equal(got[optMask], []byte{255, 255, 255, 0}) || !bytes.Equal(got[optDNS], address.Gateway4.AsSlice()) ||
			!bytes.Equal(got[optRouter], address.Gateway4.AsSlice()) || binary.BigEndian.Uint16(got[optMTU]) != address.MTU) {
			t.Errorf("%s: options %v", name, got)
		}
	}
}

// FuzzAnswer has any bytes be a message.
func FuzzAnswer(f *testing.F) {
	f.Add(message(discover))
	f.Add(message(request, optRequested, 255, 1))
	f.Fuzz(func(t *testing.T, m []byte) {
		if out := Answer(m); out != nil && (len(out) < minLength || len(out) > 300) {
			t.Errorf("%d bytes", len(out))
		}
	})
}
