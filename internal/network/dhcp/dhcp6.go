package dhcp

import (
	"bytes"
	"encoding/binary"

	"noid/internal/network/address"
)

// Types of DHCPv6's messages (RFC 8415, 7.3).
const (
	solicit6, advertise6, request6, confirm6, renew6, rebind6, reply6, release6, decline6, information6 = 1, 2, 3, 4, 5, 6, 7, 8, 9, 11
)

// Options of DHCPv6 (RFC 8415, 21; RFC 3646, 3).
const (
	optClient6, optServer6, optIdentity6, optAddress6, optStatus6, optRapid6, optDNS6 = 1, 2, 3, 5, 13, 14, 23
)

// Status codes (RFC 8415, 21.13).
const (
	success6, noAddress6, notOnLink6 = 0, 2, 4
)

const (
	header6  = 4               // the type of a message and the number of its transaction
	fixed6   = 12              // of the option of an identity: its number and two times
	address6 = 24              // the option of an address: it and two times
	option6  = 4               // before each option's value: its number and length
	lease6   = 30 * 24 * 3600  // in seconds, as long as that of IPv4
	maxID6   = 2 + 128         // of a client's identifier, in bytes (RFC 8415, 11.1)
	renewAt6 = lease6 / 2      // when the client asks this server again, in seconds
	anyAt6   = lease6 / 10 * 8 // and when it asks any server
)

// server6 identifies the server by its link address (RFC 8415, 11.4), the same for every VM: a clone's lease is known.
var server6 = append([]byte{0, 3, 0, ethernet}, address.GatewayMAC[:]...)

// Answer6 returns the answer to a message of the guest's DHCPv6 client, or nil if there is none (RFC 8415, 18.3).
func Answer6(m []byte) []byte {
	if len(m) < header6 {
		return nil
	}
	kind, options := m[0], parse6(m[header6:])
	client, server := options.first(optClient6), options.first(optServer6)
	if len(client) > maxID6 || server != nil && !bytes.Equal(server, server6) {
		return nil
	}
	switch kind {
	case solicit6, confirm6, rebind6:
		if client == nil || server != nil {
			return nil
		}
	case request6, renew6, release6, decline6:
		if client == nil || server == nil {
			return nil
		}
	case information6:
	default:
		return nil
	}
	out := append([]byte{reply6}, m[1:header6]...)
	if kind == solicit6 {
		if options.has(optRapid6) {
			out = put6(out, optRapid6, nil)
		} else {
			out[0] = advertise6
		}
	}
	out = put6(out, optServer6, server6)
	if client != nil {
		out = put6(out, optClient6, client)
	}
	switch kind {
	case confirm6:
		return status6(out, confirmed6(options))
	case release6, decline6:
		return status6(out, success6)
	case information6:
	default:
		out = options.identities(out)
	}
	return put6(out, optDNS6, address.Gateway6.AsSlice())
}

// identities6 bounds the identities that one message's answer names: each is one of the guest's interfaces.
const identities6 = 4

// identities adds each identity that the client names: the first one has the address, there is no other.
func (all options6) identities(out []byte) []byte {
	count := 0
	for _, o := range all {
		if o.number != optIdentity6 || len(o.value) < fixed6 {
			continue
		}
		id := append([]byte(nil), o.value[:4]...)
		if count++; count == 1 {
			put := binary.BigEndian.AppendUint32
			id = put(put(id, renewAt6), anyAt6)
			id = put6(id, optAddress6, put(put(address.Guest6.Addr().AsSlice(), lease6), lease6))
		} else {
			id = status6(append(id, make([]byte, fixed6-4)...), noAddress6)
		}
		if out = put6(out, optIdentity6, id); count == identities6 {
			break
		}
	}
	return out
}

// confirmed6 is the status for a client that asks whether its addresses are of this link.
func confirmed6(all options6) uint16 {
	for _, o := range all {
		if o.number != optIdentity6 || len(o.value) < fixed6 {
			continue
		}
		for _, a := range parse6(o.value[fixed6:]) {
			if a.number == optAddress6 && (len(a.value) < address6 || !bytes.Equal(a.value[:16], address.Guest6.Addr().AsSlice())) {
				return notOnLink6
			}
		}
	}
	return success6
}

type options6 []struct {
	number uint16
	value  []byte
}

// parse6 returns the options in their order, as far as they are well-formed.
func parse6(b []byte) (all options6) {
	for len(b) >= option6 {
		length := option6 + int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < length {
			break
		}
		all = append(all, struct {
			number uint16
			value  []byte
		}{binary.BigEndian.Uint16(b), b[option6:length]})
		b = b[length:]
	}
	return all
}

// first returns the value of the first such option, nil if there is none.
func (all options6) first(number uint16) []byte {
	for _, o := range all {
		if o.number == number {
			return o.value
		}
	}
	return nil
}

func (all options6) has(number uint16) bool { return all.first(number) != nil }

func put6(out []byte, number uint16, value []byte) []byte {
	out = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(out, number), uint16(len(value)))
	return append(out, value...)
}

func status6(out []byte, code uint16) []byte {
	return put6(out, optStatus6, binary.BigEndian.AppendUint16(nil, code))
}
