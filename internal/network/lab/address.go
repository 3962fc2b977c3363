package lab

import (
	"net/netip"

	"noid/internal/network"
	"noid/internal/network/address"
)

const (
	// maxNumber is the last number of a network: 10.63.0.0/24 is every guest's own, 10.63.255.0/24 nobody's.
	maxNumber = 254
	// firstHost and lastHost bound the addresses of a network's VMs.
	firstHost, lastHost = 1, 254
)

// Subnets returns the addresses of the VMs on the network of that number, 10.63.NUMBER.0/24 and
// fd63:6e6f:6964:NUMBER::/64, beside those that every guest has.
func Subnets(number uint8) (four, six netip.Prefix) {
	a4, a6 := address.Guest4.Masked().Addr().As4(), address.Guest6.Masked().Addr().As16()
	a4[2], a6[7] = number, number
	return netip.PrefixFrom(netip.AddrFrom4(a4), address.Guest4.Bits()), netip.PrefixFrom(netip.AddrFrom16(a6), address.Guest6.Bits())
}

// Six is the IPv6 address of the VM whose IPv4 address on a network is four.
func Six(four netip.Addr) netip.Addr {
	b := four.As4()
	_, subnet := Subnets(b[2])
	six := subnet.Addr().As16()
	six[15] = b[3]
	return netip.AddrFrom16(six)
}

// Four is the IPv4 address of the VM that has a, of either version, on a network. Not valid: no VM can have it.
func Four(a netip.Addr) netip.Addr {
	four := a.Unmap()
	if a.Is6() && !four.Is4() {
		b := a.As16()
		subnet, _ := Subnets(b[7])
		low := subnet.Addr().As4()
		low[3] = b[15]
		if four = netip.AddrFrom4(low); Six(four) != a {
			return netip.Addr{}
		}
	}
	if !four.Is4() {
		return netip.Addr{}
	}
	b := four.As4()
	if subnet, _ := Subnets(b[2]); !subnet.Contains(four) || b[2] == 0 || b[2] > maxNumber || b[3] < firstHost || b[3] > lastHost {
		return netip.Addr{}
	}
	return four
}

// On returns which of a VM's networks the address a is on.
func On(networks []network.Member, a netip.Addr) (m network.Member, ok bool) {
	four := Four(a)
	if !four.IsValid() {
		return m, false
	}
	for _, m := range networks {
		if m.Addr.Is4() && m.Addr.As4()[2] == four.As4()[2] {
			return m, true
		}
	}
	return m, false
}

// Free returns the lowest address of the network n that is not taken. Not valid: there is none.
func (n Network) Free(taken map[netip.Addr]bool) netip.Addr {
	subnet, _ := Subnets(n.Number)
	for host := firstHost; host <= lastHost; host++ {
		b := subnet.Addr().As4()
		b[3] = byte(host)
		if a := netip.AddrFrom4(b); !taken[a] {
			return a
		}
	}
	return netip.Addr{}
}

// Has reports whether a is an address of a VM on n, of IPv4.
func (n Network) Has(a netip.Addr) bool {
	return a.Is4() && Four(a) == a && a.As4()[2] == n.Number
}
