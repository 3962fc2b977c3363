package policy

import "net/netip"

// The IPv6 ranges whose addresses stand for an IPv4 one, and where its four bytes are. Mapped addresses are not among
// them: those are unmapped before anything is looked at.
var embeddings = []struct {
	prefix netip.Prefix
	at     int
	flip   byte // Teredo has the client's bits turned over
}{
	{netip.MustParsePrefix("::/96"), 12, 0},           // IPv4-compatible, RFC 4291
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, 0}, // translated, RFC 2765
	{netip.MustParsePrefix("64:ff9b::/96"), 12, 0},    // NAT64, RFC 6052
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12, 0},  // NAT64 of a network itself, RFC 8215, with the usual /96
	{netip.MustParsePrefix("2002::/16"), 2, 0},        // 6to4, RFC 3056
	{netip.MustParsePrefix("2001::/32"), 4, 0},        // Teredo's server, RFC 4380
	{netip.MustParsePrefix("2001::/32"), 12, 0xff},    // Teredo's client
}

// forms returns a, and the IPv4 addresses that a packet to a may end at.
func forms(a netip.Addr) []netip.Addr {
	all := []netip.Addr{a}
	if a.Is4() {
		return all
	}
	b := a.As16()
	for _, e := range embeddings {
		if e.prefix.Contains(a) {
			all = append(all, four(b, e.at, e.flip))
		}
	}
	// ISATAP, RFC 5214: any prefix, then 0:5efe or 200:5efe.
	if b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		all = append(all, four(b, 12, 0))
	}
	return all
}

func four(b [16]byte, at int, flip byte) netip.Addr {
	return netip.AddrFrom4([4]byte{b[at] ^ flip, b[at+1] ^ flip, b[at+2] ^ flip, b[at+3] ^ flip})
}
