package lab

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Open is what a network helper tells another one of a flow that it hands over.
type Open struct {
	Proto Proto
	// From is the VM that opens it: its address on the network, and the port of its guest, of Ping the identifier. To is
	// the VM that it is opened to, and has an address of the same version of IP.
	From, To netip.AddrPort
}

// Proto is what goes through a flow, by the numbers of IP.
type Proto uint8

const (
	Ping Proto = 1
	TCP  Proto = 6
	UDP  Proto = 17
)

// The layout of a message: version, protocol, key, and twice an address of 16 bytes and a port.
const (
	version = 1
	keyAt   = 2
	fromAt  = keyAt + len(Key{})
	toAt    = fromAt + 18
	openLen = toAt + 18
)

func (o Open) encode(k Key) []byte {
	b := make([]byte, 0, openLen)
	b = append(append(b, version, byte(o.Proto)), k[:]...)
	for _, a := range []netip.AddrPort{o.From, o.To} {
		b = binary.BigEndian.AppendUint16(append(b, as16(a.Addr())...), a.Port())
	}
	return b
}

func as16(a netip.Addr) []byte {
	b := a.As16()
	return b[:]
}

// parse reads a message. The key is the caller's to look at.
func parse(b []byte) (o Open, k Key, err error) {
	if len(b) != openLen || b[0] != version {
		return o, k, errors.New("no message of this version")
	}
	o.Proto = Proto(b[1])
	copy(k[:], b[keyAt:])
	o.From, o.To = addrPort(b[fromAt:toAt]), addrPort(b[toAt:])
	from, to := Four(o.From.Addr()), Four(o.To.Addr())
	switch {
	case o.Proto != Ping && o.Proto != TCP && o.Proto != UDP:
		err = errors.New("neither tcp nor udp nor a ping")
	case !from.IsValid() || !to.IsValid() || from.As4()[2] != to.As4()[2] || o.From.Addr().Is4() != o.To.Addr().Is4():
		err = errors.New("not between two vms on one network")
	case o.Proto != Ping && (o.From.Port() == 0 || o.To.Port() == 0):
		err = errors.New("no port")
	}
	return o, k, err
}

func addrPort(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), binary.BigEndian.Uint16(b[16:]))
}
