package dhcp

import (
	"bytes"
	"net/netip"
	"testing"

	"noid/internal/network/address"
)

// client6 is the identifier of a client.
var client6 = []byte{0, 3, 0, 1, 2, 3, 4, 5, 6, 7}

// message6 is one of a client.
func message6(kind byte, parts ...[]byte) []byte {
	return append([]byte{kind, 'x', 'i', 'd'}, bytes.Join(parts, nil)...)
}

// identity is that of an interface of the client, with what it has.
func identity(number byte, has ...netip.Addr) []byte {
	value := append([]byte{0, 0, 0, number}, make([]byte, 8)...)
	for _, a := range has {
		value = put6(value, optAddress6, append(a.AsSlice(), make([]byte, 8)...))
	}
	return put6(nil, optIdentity6, value)
}

func TestAnswer6(t *testing.T) {
	guest := address.Guest6.Addr()
	me, you := put6(nil, optClient6, client6), put6(nil, optServer6, server6)
	one, other := identity(1), put6(nil, optServer6, []byte{0, 3, 0, 1, 9, 9, 9, 9, 9, 9})
	for name, c := range map[string]struct {
		message []byte
		kind    byte
		address bool
		status  int // -1: none
	}{
		"solicit":                     {message6(solicit6, me, one), advertise6, true, -1},
		"solicit for all at once":     {message6(solicit6, me, one, put6(nil, optRapid6, nil)), reply6, true, -1},
		"request":                     {message6(request6, me, you, one), reply6, true, -1},
		"renewal":                     {message6(renew6, me, you, identity(1, guest)), reply6, true, -1},
		"rebinding":                   {message6(rebind6, me, identity(1, guest)), reply6, true, -1},
		"confirmation":                {message6(confirm6, me, identity(1, guest)), reply6, false, success6},
		"confirmation of another":     {message6(confirm6, me, identity(1, netip.MustParseAddr("fd00::1"))), reply6, false, notOnLink6},
		"release":                     {message6(release6, me, you, identity(1, guest)), reply6, false, success6},
		"information":                 {message6(information6), reply6, false, -1},
		"request of another server":   {message6(request6, me, other, one), 0, false, -1},
		"request of no server":        {message6(request6, me, one), 0, false, -1},
		"solicit of this server":      {message6(solicit6, me, you, one), 0, false, -1},
		"solicit of nobody":           {message6(solicit6, one), 0, false, -1},
		"an answer":                   {message6(reply6, me, you, one), 0, false, -1},
		"too short":                   {[]byte{solicit6, 'x', 'i'}, 0, false, -1},
		"a client's long identifier":  {message6(solicit6, put6(nil, optClient6, make([]byte, maxID6+1)), one), 0, false, -1},
		"an identity that is cut off": {message6(solicit6, me, one[:len(one)-1]), advertise6, false, -1},
	} {
		out := Answer6(c.message)
		if c.kind == 0 {
			if out != nil {
				t.Errorf("%s: answered %x", name, out)
			}
			continue
		}
		if len(out) < header6 || out[0] != c.kind || string(out[1:header6]) != "xid" {
			t.Fatalf("%s: %x", name, out)
		}
		got := parse6(out[header6:])
		if !bytes.Equal(got.first(optServer6), server6) || c.message[0] != information6 && !bytes.Equal(got.first(optClient6), client6) {
			t.Errorf("%s: for %x of %x", name, got.first(optClient6), got.first(optServer6))
		}
		id := got.first(optIdentity6)
		has := len(id) >= fixed6 && id[3] == 1 && bytes.HasPrefix(parse6(id[fixed6:]).first(optAddress6), guest.AsSlice())
		if has != c.address {
			t.Errorf("%s: has an address: %t", name, has)
		}
		status := -1
		if s := got.first(optStatus6); len(s) == 2 {
			status = int(s[1])
		} else if !bytes.Equal(got.first(optDNS6), address.Gateway6.AsSlice()) {
			t.Errorf("%s: no name server", name)
		}
		if status != c.status {
			t.Errorf("%s: status %d, want %d", name, status, c.status)
		}
		if has := got.has(optRapid6); has != (c.message[0] == solicit6 && c.kind == reply6) {
			t.Errorf("%s: says that it is all: %t", name, has)
		}
	}
}

// TestIdentities6: a client's second interface gets no address, and no message a long answer.
func TestIdentities6(t *testing.T) {
	parts := [][]byte{put6(nil, optClient6, client6)}
	for i := range byte(20) {
		parts = append(parts, identity(i))
	}
	count := 0
	for _, o := range parse6(Answer6(message6(solicit6, parts...))[header6:]) {
		if o.number != optIdentity6 {
			continue
		}
		in := parse6(o.value[fixed6:])
		if status := in.first(optStatus6); in.has(optAddress6) != (count == 0) || (count > 0) != bytes.Equal(status, []byte{0, noAddress6}) {
			t.Errorf("identity %d: %v", count, in)
		}
		count++
	}
	if count != identities6 {
		t.Errorf("%d identities", count)
	}
}

// FuzzAnswer6 has any bytes be a message.
func FuzzAnswer6(f *testing.F) {
	f.Add(message6(solicit6, put6(nil, optClient6, client6), identity(1)))
	f.Add(message6(confirm6, put6(nil, optClient6, client6), identity(1, address.Guest6.Addr())))
	f.Fuzz(func(t *testing.T, m []byte) {
		if out := Answer6(m); len(out) > 512 {
			t.Errorf("%d bytes", len(out))
		}
	})
}
