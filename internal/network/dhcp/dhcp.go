// Package dhcp answers the DHCP requests of a guest that sets its addresses itself, for IPv4 (RFC 2131) and for IPv6
// (RFC 8415). There is one guest with one address of each, so there is nothing to remember.
package dhcp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"noid/internal/network/address"
)

// The fields of a message, by their offsets.
const (
	offOp     = 0
	offXID    = 4
	offCIAddr = 12
	offYIAddr = 16
	offSIAddr = 20
	offCHAddr = 28
	offMagic  = 236
	minLength = 240
)

const (
	bootRequest, bootReply = 1, 2
	ethernet, macLength    = 1, 6
	magic                  = 0x63825363
	// lease is as long as the guest likes: nobody else gets the address.
	lease = 30 * 24 * time.Hour
)

// Options of a message.
const (
	optPad, optEnd                                     = 0, 255
	optMask, optRouter, optDNS, optMTU                 = 1, 3, 6, 26
	optRequested, optLease, optType, optServer, optMsg = 50, 51, 53, 54, 56
)

// Types of messages.
const (
	discover, offer, request, ack, nak, inform = 1, 2, 3, 5, 6, 8
)

// Answer returns the answer to a message of the guest's client, or nil if there is none.
func Answer(m []byte) []byte {
	if len(m) < minLength || m[offOp] != bootRequest || m[1] != ethernet || m[2] != macLength || binary.BigEndian.Uint32(m[offMagic:]) != magic {
		return nil
	}
	options := parse(m[minLength:])
	if server := options[optServer]; server != nil && !bytes.Equal(server, address.Gateway4.AsSlice()) {
		return nil // it has chosen another
	}
	kind := options[optType]
	if len(kind) != 1 {
		return nil
	}
	switch kind[0] {
	case discover:
		return answer(m, offer, true)
	case inform:
		return answer(m, ack, false)
	case request:
		wanted := options[optRequested]
		if wanted == nil {
			wanted = m[offCIAddr : offCIAddr+4]
		}
		if !bytes.Equal(wanted, address.Guest4.Addr().AsSlice()) {
			return answer(m, nak, false)
		}
		return answer(m, ack, true)
	}
	return nil
}

// parse returns the options by their numbers, as far as they are well-formed.
func parse(b []byte) map[byte][]byte {
	options := map[byte][]byte{}
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			break
		}
		options[b[0]] = b[2 : 2+int(b[1])]
		b = b[2+int(b[1]):]
	}
	return options
}

// answer makes the answer of a type to m, with the guest's address or without.
func answer(m []byte, kind byte, withAddress bool) []byte {
	out := make([]byte, minLength, 300)
	out[offOp], out[1], out[2] = bootReply, ethernet, macLength
	copy(out[offXID:], m[offXID:offXID+4])
	copy(out[10:], []byte{0x80, 0}) // broadcast, as the answer is
	copy(out[offCHAddr:], m[offCHAddr:offCHAddr+macLength])
	binary.BigEndian.PutUint32(out[offMagic:], magic)
	gateway := address.Gateway4.AsSlice()
	put := func(option byte, value ...byte) { out = append(append(out, option, byte(len(value))), value...) }
	put(optType, kind)
	put(optServer, gateway...)
	if kind == nak {
		put(optMsg, []byte("the address is another one")...)
		return append(out, optEnd)
	}
	copy(out[offSIAddr:], gateway)
	if withAddress {
		copy(out[offYIAddr:], address.Guest4.Addr().AsSlice())
		put(optLease, binary.BigEndian.AppendUint32(nil, uint32(lease/time.Second))...)
	} else {
		copy(out[offCIAddr:], m[offCIAddr:offCIAddr+4])
	}
	put(optMask, net.CIDRMask(address.Guest4.Bits(), netip.IPv4Unspecified().BitLen())...)
	put(optRouter, gateway...)
	put(optDNS, gateway...)
	put(optMTU, binary.BigEndian.AppendUint16(nil, address.MTU)...)
	return append(out, optEnd)
}
